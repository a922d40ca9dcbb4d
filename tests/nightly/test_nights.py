"""Which nights count: those that were cut, failed, ran twice, or lie where the clock went backwards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nightly.farm import START, Farm

from harness.errors import StoreError
from harness.nightly.nights import Night, begin, counted, irregular, read_nights
from harness.nightly.summary import render_watched
from harness.nightly.watch import look
from harness.store.dataset import read_tables

STATUSES = ("started", "complete", "partial", "failed")


def night(number: int, status: str, day: int = 0) -> Night:
    session = f"s{number}" if status in ("complete", "partial") else None
    return Night(
        number=number,
        config="nightly.toml",
        config_sha256="c",
        target="x86",
        started_at=START + timedelta(days=day),
        status=status,
        session_id=session,
        reason="why",
    )


def test_a_night_cut_in_the_middle_is_ignored_said_and_its_number_is_not_used_again(farm: Farm) -> None:
    farm.quick(1)
    begin(farm.config, farm.now)
    lost = farm.measure()  # it was killed before its row was written
    farm.now += timedelta(days=1)
    watched = farm.night()
    assert [one.number for one in watched.nights] == [1, 3]
    assert watched.notes == ("Night 2 (2026-11-02) was cut in the middle and does not count.",)
    assert lost.session_id in set(read_tables(farm.config.results, "all").runs["session_id"]), "nothing is thrown away"


def test_two_complete_nights_of_one_date_both_count_and_the_table_says_so(farm: Farm) -> None:
    farm.quick(1)
    farm.now -= timedelta(hours=3, days=1) - timedelta(hours=4)
    watched = farm.night()
    assert [one.number for one in watched.nights] == [1, 2]
    assert watched.notes == ("2026-11-01 has nights 1 and 2: each counts as a night of its own.",)
    assert [len(series.points) for series, _ in watched.series] == [2, 2, 2]


def test_nights_of_several_machines_are_joined_and_the_table_says_which(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("runner-a", "runner-b", "runner-a"):
        monkeypatch.setattr("platform.node", lambda host=host: host)
        farm.quick(1)
    assert [one.host for one in read_nights(farm.config)[0]] == ["runner-a", "runner-b", "runner-a"]
    (note,) = look(farm.config).notes
    assert note.startswith("The nights ran on several machines (runner-a: 1, 3; runner-b: 2). They are joined")
    assert [len(series.points) for series, _ in look(farm.config).series] == [3, 3, 3]


def test_how_many_nights_a_conclusion_needs_is_in_the_table(farm: Farm) -> None:
    shown = []
    for number in range(5):
        if number == 3:
            text = render_watched(look(farm.config), "markdown")
            assert "| 3 of 4 |" in text
            assert "4 nights at one level are needed before the next night can be judged" in text
        (table,) = json.loads(render_watched(farm.night(), "json"))["data"]["series"][:1]
        shown.append((table["metric"], table["nights_of_level"], table["nights_needed"]))
    assert shown == [("steady_latency_ns_p50", count, 4) for count in range(1, 6)]
    assert "| 3 of 4 |" not in render_watched(look(farm.config), "markdown")


def test_nights_are_in_the_order_of_their_numbers_where_the_clock_went_backwards(farm: Farm) -> None:
    farm.quick(2)
    farm.now = datetime(1999, 12, 31, 23, tzinfo=UTC)
    watched = farm.night()
    assert [one.number for one in watched.nights] == [1, 2, 3]
    assert [point.night for point in watched.series[0][0].points] == [1, 2, 3]
    (note,) = watched.notes
    assert note.startswith("The clock went backwards: night 3 says 1999-12-31 23:00")


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.integers(0, 3)), max_size=12))
def test_complete_nights_count_or_the_last_partial_one_of_a_date_and_others_are_explained(
    drawn: list[tuple[str, int]],
) -> None:
    nights = [night(number, status, day) for number, (status, day) in enumerate(drawn, 1)]
    good = counted(nights)
    assert [one.number for one in good] == sorted(one.number for one in good)
    for date in {one.date for one in nights if one.session_id}:
        usable = [one for one in nights if one.date == date and one.session_id]
        complete = [one for one in usable if one.status == "complete"]
        assert [one for one in good if one.date == date] == (complete or usable[-1:])
    notes = irregular(nights, good)
    for one in nights[-14:]:
        if one not in good or one.status == "partial":
            assert any(f"Night {one.number} " in note for note in notes)


def test_a_failed_night_says_why_and_the_series_go_on(farm: Farm) -> None:
    farm.quick(2)
    farm.failing = "The run crashed."
    watched = farm.night()
    assert watched.last is not None
    assert (watched.last.number, watched.last.status) == (3, "failed")
    assert watched.notes == ("Night 3 (2026-11-03) failed and does not count: The run crashed.",)
    assert [len(series.points) for series, _ in watched.series] == [2, 2, 2]


def test_what_was_measured_last_night_and_is_not_tonight_is_said(farm: Farm) -> None:
    farm.quick(1)
    farm.config = replace(farm.config, sha256="e" * 64)
    made = farm.session({"model": farm.file}, 2, quality=False)
    farm.measure = lambda: replace(Farm.measure(farm), session_id=made)  # type: ignore[method-assign]
    watched = farm.night()
    assert watched.notes == (
        "The configuration was edited between nights 1 and 2.",
        "Night 2 has no loss_nats of model, unlike night 1.",
    )


def test_configurations_share_a_store_without_mixing_their_nights(farm: Farm) -> None:
    farm.quick(1)
    mine, other = farm.config, replace(farm.config, name="weekly.toml")
    farm.config = other
    farm.quick(1)
    assert [one.number for one in look(mine).nights] == [1]
    assert [one.number for one in look(other).nights] == [2]


@pytest.mark.parametrize("table", ["samples", "runs"])
def test_a_truncated_file_costs_its_attempt_and_is_said(farm: Farm, table: str) -> None:
    farm.quick(3)
    file = sorted((farm.config.results / table).rglob("*.parquet"))[0]
    file.write_bytes(file.read_bytes()[:-9])
    watched = look(farm.config)
    timed = next(series for series, _ in watched.series if series.metric.unit == "ns")
    assert sorted(point.processes for point in timed.points) == [1, 2, 2]
    assert any("1 attempt left out" in note for note in watched.notes)


def test_a_truncated_night_is_left_out_said_and_its_number_stays_taken(farm: Farm) -> None:
    farm.quick(3)
    for file in (farm.config.results / "nights").rglob("night-000003-*.parquet"):
        file.write_bytes(file.read_bytes()[:20])
    watched = farm.night()
    assert [one.number for one in watched.nights] == [1, 2, 4]
    assert sum("night-000003" in note and "damaged" in note for note in watched.notes) == 2


def test_a_store_that_cannot_be_written_is_one_sentence_and_nothing_is_lost(farm: Farm) -> None:
    farm.quick(1)
    results = farm.config.results
    farm.config = replace(farm.config, results=results / "nights" / "nowhere")
    (results / "nights" / "nowhere").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        farm.night()
    assert [one.status for one in read_nights(replace(farm.config, results=results))[0]] == ["complete"]


def test_a_full_disk_in_the_middle_of_a_night_is_one_sentence_and_the_rows_before_stay(farm: Farm) -> None:
    farm.quick(1)
    before = len(read_tables(farm.config.results, "all").runs)
    script = Path(__file__).with_name("killed.py")
    ended = subprocess.run(
        [sys.executable, str(script), "full", str(farm.folder)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith(
        "is full. Free space, or name another folder as `results`. Rows written before are complete and stay."
    )
    assert len(read_tables(farm.config.results, "all").runs) == before
    farm.file.write_bytes(b"old")
    assert [one.number for one in farm.night().nights] == [1, 2]
