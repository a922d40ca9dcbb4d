"""What is said of the time that is left: from the last time, corrected by this time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.durations import TaskClock, in_words


class Now:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now(unsynced: None) -> Now:
    return Now()


def run(now: Now, **steps: float) -> None:
    """The task from beginning to end, its steps as long as said."""
    clock = TaskClock("task", now)
    for step, seconds in steps.items():
        clock.begin(step)
        now.seconds += seconds
    clock.finish()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0 s"), (0.6, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (152, "2 min 32 s"), (3599.4, "59 min 59 s")),
        *((3600, "1 h"), (3900, "1 h 5 min"), (7190, "2 h")),
    ],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.usefixtures("cache")
def test_the_first_time_has_no_estimate_and_says_so(now: Now) -> None:
    clock = TaskClock("task", now)
    assert (clock.elapsed_s, clock.left_s()) == (0.0, None)
    clock.begin("lowering")
    now.seconds += 32
    assert clock.left_s() is None
    assert clock.sentence() == "lowering, 32 s (the first time here: no estimate)"
    clock.within(1, 4)
    assert clock.sentence() == "lowering, 32 s, about 1 min 36 s left of this step"


@pytest.mark.usefixtures("cache")
def test_the_next_time_is_expected_to_be_as_long_as_the_last(now: Now) -> None:
    run(now, exporting=20, lowering=30)
    now.seconds += 1000
    clock = TaskClock("task", now)
    clock.begin("exporting")
    assert clock.sentence() == "exporting, 0 s, about 50 s left"
    now.seconds += 10
    assert clock.left_s() == pytest.approx(40)
    now.seconds += 10
    clock.begin("lowering")
    assert clock.left_s() == pytest.approx(30)
    assert clock.sentence() == "lowering, 20 s, about 30 s left"
    assert TaskClock("another task", now).left_s() is None


@pytest.mark.usefixtures("cache")
def test_an_estimate_is_corrected_while_the_task_runs(now: Now) -> None:
    """About a minute that takes seven does not stay about a minute."""
    run(now, exporting=20, lowering=30, checking=10)
    clock = TaskClock("task", now)
    clock.begin("exporting")
    now.seconds += 140  # seven times as long
    late = (140 + 5) / (20 + 5)
    assert clock.left_s() == pytest.approx(late * 40), "the steps to come are expected to be as late"
    clock.begin("lowering")
    assert clock.left_s() == pytest.approx(late * 40)
    now.seconds += 100
    assert clock.left_s() == pytest.approx(late * 40 - 100)
    clock.within(1, 2)  # it is half done after 100 s
    assert clock.left_s() == pytest.approx(100 + 10 * (140 + 200 + 5) / (20 + 30 + 5))
    now.seconds += 100
    clock.begin("checking")
    now.seconds += 500
    assert clock.sentence() == "checking, 14 min, longer than the last time (1 min)"


@pytest.mark.usefixtures("cache")
def test_a_task_that_is_quicker_than_the_last_time_is_almost_done_at_its_end(now: Now) -> None:
    run(now, exporting=20, checking=0.1)
    clock = TaskClock("task", now)
    clock.begin("exporting")
    now.seconds += 10
    clock.begin("checking")
    assert clock.sentence() == "checking, 10 s, almost done"


@pytest.mark.usefixtures("cache")
def test_a_short_step_that_takes_longer_says_little_of_a_long_one(now: Now) -> None:
    run(now, reading=0.01, lowering=60)
    clock = TaskClock("task", now)
    clock.begin("reading")
    now.seconds += 1  # a hundred times as long
    assert clock.left_s() == pytest.approx(60 * 6 / 5.01)


@pytest.mark.usefixtures("cache")
def test_between_two_words_of_progress_the_time_left_shrinks(now: Now) -> None:
    clock = TaskClock("task", now)
    clock.begin("programs")
    now.seconds += 60
    clock.within(1, 5)
    left = [clock.left_s()]
    now.seconds += 30
    left.append(clock.left_s())
    assert left == [pytest.approx(240), pytest.approx(210)]


def test_what_was_not_finished_and_what_had_nothing_to_do_is_not_recorded(now: Now, cache: Path) -> None:
    clock = TaskClock("task", now)
    clock.begin("lowering")
    TaskClock("nothing", now).finish()
    assert not (cache / "durations.json").exists()
    run(now, lowering=5)
    assert json.loads((cache / "durations.json").read_text()) == {"task": {"lowering": 5.0}}


@pytest.mark.parametrize("damage", ["", "[1]", '{"task": 3}', '{"task": {"lowering": "long"}}', "\x00"])
def test_a_damaged_record_is_no_record(now: Now, cache: Path, damage: str) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "durations.json").write_text(damage)
    clock = TaskClock("task", now)
    clock.begin("lowering")
    assert clock.left_s() is None
    run(now, lowering=5)
    assert TaskClock("task", now)._last == {"lowering": 5.0}


def test_a_folder_that_cannot_be_written_is_no_error(now: Now, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    run(now, lowering=5)
    assert TaskClock("task", now).left_s() is None
