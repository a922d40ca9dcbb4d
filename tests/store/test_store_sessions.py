"""Which rows of a store are read: the newest session, or one by how its id begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from store.attempts import TARGET, attempt, write

from harness.errors import NothingComparable
from harness.store import files as files_module
from harness.store.dataset import read_tables
from harness.store.writer import write_attempt

pytestmark = pytest.mark.usefixtures("unsynced")


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: (path / "runs").mkdir()], ids=["nothing", "an empty table"]
)
def test_an_empty_store_has_nothing_to_compare(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    with pytest.raises(NothingComparable) as caught:
        read_tables(tmp_path)
    assert caught.value.exit_code == 3
    assert str(tmp_path) in caught.value.message
    assert "harness run" in caught.value.hint


def test_a_folder_that_does_not_exist_has_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(NothingComparable):
        read_tables(tmp_path / "absent")


def test_a_session_is_found_by_how_its_id_begins(tmp_path: Path) -> None:
    for minute, (name, session) in enumerate([("a1", "abc1"), ("a2", "def2"), ("a3", "abc1")]):
        write(tmp_path, name, session=session, minute=minute)
    assert read_tables(tmp_path, "abc").runs["attempt_id"].tolist() == ["a1", "a3"]
    assert read_tables(tmp_path, "def2").runs["attempt_id"].tolist() == ["a2"]
    assert set(read_tables(tmp_path, "def2").samples["attempt_id"]) == {"a2"}
    assert read_tables(tmp_path, "all").runs["attempt_id"].tolist() == ["a1", "a2", "a3"]
    with pytest.raises(NothingComparable, match="begins with 'xyz'"):
        read_tables(tmp_path, "xyz")


@pytest.mark.parametrize("newest", [None, "latest"])
def test_the_newest_session_is_the_one_that_started_a_job_last(tmp_path: Path, newest: str | None) -> None:
    for minute, session in ((5, "old"), (9, "new"), (1, "older")):
        write(tmp_path, f"a{minute}", session=session, minute=minute)
    assert set(read_tables(tmp_path, newest).runs["session_id"]) == {"new"}


def on_day(results: Path, day: int, session: str, *positions: int) -> None:
    """Rows of a session with these places in it, at noon of a day of November."""
    for position in positions:
        when = datetime(2026, 11, day, 12, position, tzinfo=UTC)
        rows = attempt(
            f"{session}-{day}-{position}", session=session, position=position, started_at=when, model_sha256="m"
        )
        write_attempt(results, when.date().isoformat(), TARGET, rows)


@pytest.mark.parametrize(
    "days",
    [
        {5: [1, 2, 3]},
        {5: [4, 5], 4: [1, 2, 3]},
        {5: [9], 4: [5, 6], 3: [1, 2]},
        {5: [9], 3: [2, 3]},  # a day without a row of it lies between
        {5: [1], 4: [2, 3, 4]},  # the clock was set back after its first job
        {5: [7], 1: [5, 6]},
    ],
    ids=["a day", "over midnight", "three days", "a gap", "the clock set back", "a long gap"],
)
def test_the_newest_session_is_read_whole_wherever_its_days_lie(tmp_path: Path, days: dict[int, list[int]]) -> None:
    for day in range(1, 5):
        on_day(tmp_path, day, f"other{day}", 1, 2)
    for day, positions in days.items():
        on_day(tmp_path, day, "new", *positions)
    expected = sorted(position for positions in days.values() for position in positions)
    tables = read_tables(tmp_path)
    assert set(tables.runs["session_id"]) == {"new"}
    assert sorted(tables.runs["position"]) == expected
    assert tables.samples["attempt_id"].nunique() == len(expected)


def test_the_newest_session_is_found_without_a_look_at_every_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 29):
        on_day(tmp_path, day, f"s{day}", 1, 2)
    opened: list[files_module.File] = []
    original = files_module.open_files

    def counted(results: Path, table: str, files: Any) -> Any:
        opened.extend(files)
        return original(results, table, files)

    monkeypatch.setattr(files_module, "open_files", counted)
    assert set(read_tables(tmp_path).runs["session_id"]) == {"s28"}
    assert {file.date for file in opened} == {"2026-11-27", "2026-11-28"}
    assert len(opened) == 2 + 2 + 2 + 2 + 2, "the keys of two days, and the runs, samples and scalars of one session"
