"""What of a store can be read, when not all of it can."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.writers import write

from harness.errors import StoreError
from harness.store.dataset import read_tables
from harness.store.sound import sound_attempts

TABLES = ("runs", "samples", "ops")


@given(
    bad=st.dictionaries(st.integers(0, 30), st.tuples(st.sampled_from(TABLES), st.sampled_from(["Upgrade.", "Move."]))),
    attempts=st.integers(1, 31),
)
def test_exactly_the_sound_ones_are_found_in_their_order(bad: dict[int, tuple[str, str]], attempts: int) -> None:
    ids = [str(number) for number in range(attempts)]

    def read(table: str, asked: Sequence[str]) -> None:
        for attempt in asked:
            if bad.get(int(attempt), ("", ""))[0] == table:
                raise StoreError(f"{attempt} is bad.", bad[int(attempt)][1])

    sound, problems = sound_attempts(read, ids, TABLES[1:])
    assert sound == [attempt for attempt in ids if int(attempt) not in bad]
    lost = [number for number in sorted(bad) if number < attempts]
    assert sum(int(problem.split()[0]) for problem in problems) == len(lost)
    assert len(problems) == len({bad[number][1] for number in lost})
    assert all(f"the first: {lost[0]} is bad." in problem for problem in problems[:1])


def damage(results: Path, attempt: str, table: str) -> Path:
    (path,) = (results / table).rglob(f"{attempt}.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    return path


@pytest.mark.parametrize("table", ["runs", "samples"])
def test_a_damaged_attempt_is_left_out_and_named(tmp_path: Path, table: str) -> None:
    for attempt in ("a1", "a2", "a3"):
        write(tmp_path, attempt, samples=2)
    path = damage(tmp_path, "a2", table)
    tables = read_tables(tmp_path, "all")
    assert sorted(tables.runs["attempt_id"]) == ["a1", "a3"]
    assert sorted(set(tables.samples["attempt_id"])) == ["a1", "a3"]
    (problem,) = tables.problems
    assert problem.startswith(f"1 attempt left out, the first: {path} ")


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
    assert str(path) in caught.value.what
