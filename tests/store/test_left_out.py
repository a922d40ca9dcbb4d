"""What of a store can be read, when not all of it can."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from store.writers import write

from harness.errors import StoreError
from harness.store.compact import compact
from harness.store.dataset import read_runs, read_sessions, read_tables
from harness.store.left_out import sentences

pytestmark = pytest.mark.usefixtures("unsynced")


def test_one_sentence_a_remedy_with_the_attempts_of_all_its_files() -> None:
    move, upgrade = StoreError("a is bad.", "Move."), StoreError("b is new.", "Upgrade.")
    lost = [(move, 1), (upgrade, 3), (StoreError("c is bad.", "Move."), 4), (StoreError("d is bad.", "Else."), 0)]
    assert sentences(lost) == (
        "5 attempts left out, the first: a is bad. Move.",
        "3 attempts left out, the first: b is new. Upgrade.",
    )
    assert sentences([(move, 1)]) == ("1 attempt left out, the first: a is bad. Move.",)


def damage(results: Path, attempt: str, table: str) -> Path:
    (path,) = (results / table).rglob(f"{attempt}.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    return path


@pytest.mark.parametrize("table", ["runs", "samples"])
def test_a_damaged_attempt_is_left_out_and_named(tmp_path: Path, table: str) -> None:
    for attempt in ("a1", "a2", "a3"):
        write(tmp_path, attempt, samples=2)
    path = damage(tmp_path, "a2", table)
    for tables in (read_tables(tmp_path, "all"), read_tables(tmp_path), read_sessions(tmp_path, ["s"])):
        assert sorted(tables.runs["attempt_id"]) == ["a1", "a3"]
        assert sorted(set(tables.samples["attempt_id"])) == ["a1", "a3"]
        (problem,) = tables.problems
        assert problem.startswith(f"1 attempt left out, the first: {path} ")


def test_a_damaged_page_in_the_middle_costs_its_attempt(tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path, f"a{number}", samples=2000)
    (path,) = (tmp_path / "samples").rglob("a4.parquet")
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)
    tables = read_tables(tmp_path, "all")
    assert sorted(tables.runs["attempt_id"]) == [f"a{number}" for number in range(9) if number != 4]
    assert len(tables.samples) == 8 * 2000
    assert len(tables.problems) == 1


@pytest.mark.parametrize(("table", "left"), [("samples", ["later"]), ("runs", ["later"]), ("scalars", None)])
def test_a_damaged_compact_file_costs_the_attempts_that_are_in_no_other(
    tmp_path: Path, table: str, left: list[str] | None
) -> None:
    for attempt in ("a1", "a2"):
        write(tmp_path, attempt, samples=2)
    compact(tmp_path)
    write(tmp_path, "later", samples=2)
    for path in (tmp_path / table).rglob("compact-2-*.parquet"):
        path.write_bytes(path.read_bytes()[:-5])
    tables = read_tables(tmp_path, "all")
    assert sorted(tables.runs["attempt_id"]) == (left or ["a1", "a2", "later"])
    assert [problem.split(" left")[0] for problem in tables.problems] == (["2 attempts"] if left else [])


def test_a_table_that_nobody_asks_for_may_be_damaged(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=2)
    write(tmp_path, "a2", samples=2)
    shutil.copytree(tmp_path / "runs", tmp_path / "ops")
    damage(tmp_path, "a2", "ops")
    assert read_tables(tmp_path, "all").problems == ()
    tables = read_tables(tmp_path, "all", ("ops",))
    assert tables.runs["attempt_id"].tolist() == ["a1"]
    assert len(tables.problems) == 1


def test_where_nothing_of_the_session_is_left_the_file_is_the_error(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=2)
    path = damage(tmp_path, "a1", "samples")
    with pytest.raises(StoreError) as caught:
        read_tables(tmp_path, "s")
    assert str(path) in caught.value.message
    assert read_runs(tmp_path).problems == ()
    damage(tmp_path, "a1", "runs")
    with pytest.raises(StoreError, match="damaged"):
        read_runs(tmp_path)
