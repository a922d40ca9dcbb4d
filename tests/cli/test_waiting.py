"""What a person and a log see while a command works, and what a command passes on of its children's progress."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.jobs import make_job

from harness.api import building
from harness.cli import _progress, _waiting
from harness.cli._progress import Reporter
from harness.errors import HarnessError, ModelError
from harness.experiment.progress import Ended, Measuring, Working

pytestmark = pytest.mark.usefixtures("cache", "unsynced")


class Terminal(io.StringIO):
    """What is written to it, as a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log gets its lines without waiting."""
    monkeypatch.setattr(_waiting, "LOG_EVERY_S", 0.005)
    monkeypatch.setattr(_progress, "LOG_EVERY_S", 0.005)


def until(said: Callable[[], str], words: str) -> str:
    """What is said once `words` are in it."""
    waited = threading.Event()
    for _ in range(4000):
        if words in said():
            return said()
        waited.wait(0.005)
    raise AssertionError(f"{words!r} is not in {said()!r}")


def shown(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What takes the place of standard error."""
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return stream


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("terminal", [True, False])
def test_the_step_and_the_time_are_shown(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = shown(terminal, monkeypatch)
    with _waiting.waiting("task", "building x") as clock:
        clock.begin("lowering")
        until(stream.getvalue, "building x: lowering, 0 s (the first time here: no estimate)")
        clock.begin("checking")
        until(stream.getvalue, "building x: checking")
    ended = len(stream.getvalue())
    with _waiting.waiting("task", "building x") as clock:
        clock.begin("lowering")
        clock._last["checking"] = 90.0
        until(lambda: stream.getvalue()[ended:], "building x: lowering, 0 s, about 1 min 30 s left")


def test_a_narrow_terminal_has_one_line_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = shown(True, monkeypatch)
    monkeypatch.setenv("COLUMNS", "30")
    with _waiting.waiting("task", "building a model of a long name") as clock:
        clock.begin("lowering")
        until(stream.getvalue, " building a model of a long …")
    assert "ame: lowering" not in stream.getvalue()


@pytest.mark.usefixtures("often")
def test_work_that_is_done_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = shown(False, monkeypatch)
    with _waiting.waiting("task", "building x"):
        threading.Event().wait(0.05)
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("often")
def test_a_failure_ends_the_display_and_records_nothing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    stream = shown(False, monkeypatch)
    before = threading.active_count()
    with pytest.raises(ModelError), _waiting.waiting("task", "building x") as clock:  # noqa: PT012
        clock.begin("lowering")
        until(stream.getvalue, "lowering")
        raise ModelError("It is damaged.")
    assert threading.active_count() == before
    assert not (cache / "durations.json").exists()


@pytest.mark.usefixtures("often")
def test_a_log_of_a_run_names_the_job_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = shown(False, monkeypatch)
    reporter = Reporter(quiet=False)
    first, second = make_job(model="a", measure="quality"), make_job(model="b", block=2)
    with reporter:
        reporter(Measuring([first, second]))
        until(stream.getvalue, "quality a: 0 s")
        reporter(Working(42, 100))
        until(stream.getvalue, "quality a: 42 %, 0 s")
        reporter(Ended(first, None, 1, 2))
        until(stream.getvalue, "latency b, block 2: 0 s")
        reporter(Ended(second, None, 2, 2))
    ended = stream.getvalue()
    threading.Event().wait(0.05)
    assert stream.getvalue() == ended


def test_a_bar_says_how_long_it_took_and_will_take() -> None:
    def said(spent_s: float, completed: int, share: float) -> str:
        task: Any = type("Task", (), {})()
        task.elapsed, task.completed, task.total, task.fields = spent_s, completed, 8, {"share": share}
        task.finished = completed == 8
        return _progress._Times().render(task).plain

    assert said(152, 6, 0.0) == "2 min 32 s, about 51 s left"
    assert said(152, 6, 0.5) == "2 min 32 s, about 35 s left"
    assert said(152, 8, 0.0) == "2 min 32 s"
    assert said(3, 0, 0.0) == "3 s"


CHILD = """
import sys
print("building x (pte): lowering, 15 s, about 20 s left", file=sys.stderr)
print("torch warns of something", file=sys.stderr)
{rest}
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the script that runs in place of harness."""

    def make(rest: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!{real}\n{CHILD.format(rest=rest)}")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    real = sys.executable
    return make


def test_progress_of_a_child_is_passed_on_and_its_noise_is_not(child: Callable[[str], None]) -> None:
    child("print('/cache/x.pte')")
    notes: list[str] = []
    assert building.run_build(["models", "build", "x"], notes.append) == "/cache/x.pte"
    assert notes == ["building x (pte): lowering, 15 s, about 20 s left"]


def test_a_child_that_fails_says_why(child: Callable[[str], None]) -> None:
    child("sys.exit('harness: The disk has no room for x.\\nFree space.')")
    with pytest.raises(HarnessError) as failed:
        building.run_build(["models", "build", "x"], lambda _: None)
    assert (failed.value.message, failed.value.hint) == ("The disk has no room for x.", "Free space.")


def test_only_what_is_missing_is_built_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.models.zoo import artifacts

    made: set[str] = {"there"}
    asked: list[list[str]] = []
    notes: list[str] = []

    def run(words: list[str], note: building.Note) -> str:
        asked.append(words)
        return ""

    monkeypatch.setattr(building, "run_build", run)
    monkeypatch.setattr(artifacts, "built", lambda name, fmt: Path(name) if name in made else None)
    monkeypatch.setattr(artifacts, "artifact", lambda name, fmt: Path(f"{name}.{fmt}"))
    monkeypatch.setattr(artifacts, "built_static", lambda name: None)
    monkeypatch.setattr(artifacts, "static", lambda name: Path(f"{name}.static.pt2"))
    found = building.find_or_build([("there", "pte"), ("new", "pte"), ("new", "pte"), ("x", "static")], notes.append)
    assert [str(path) for path in found] == ["there.pte", "new.pte", "new.pte", "x.static.pt2"]
    assert sorted(asked) == [
        ["models", "build", name, "--format", fmt] for name, fmt in (("new", "pte"), ("x", "static"))
    ]
    assert notes == ["building new, x, once"]
