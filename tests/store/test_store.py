"""The store as others see it: what is written can be read, and what is readable is complete."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from store.attempts import DATE, START, TARGET, attempt, files, in_a_process, write
from store.writers import complete

from harness.api.result import Result
from harness.store.compact import compact
from harness.store.dataset import read_table, read_tables
from harness.store.schemas import RUNS, SCHEMA_VERSION, TABLES, VERSION_KEY
from harness.store.writer import write_attempt

pytestmark = pytest.mark.usefixtures("unsynced")


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=2, model="µ-net", threads=4, compile=False, cpus=None)
    tables = read_tables(tmp_path)
    (row,) = tables.runs.to_dict("records")
    assert (row["attempt_id"], row["model"], row["threads"], row["compile"]) == ("a1", "µ-net", 4, False)
    assert row["cpus"] is None or row["cpus"] != row["cpus"]
    assert list(row["flags"]) == ["not_pinned"]
    assert row["started_at"].to_pydatetime() == START
    assert (row["date"], row["target"]) == (DATE, TARGET)
    assert tables.samples["duration_ns"].tolist() == [5, 6]
    assert tables.samples["instructions"].isna().all()
    assert tables.scalars["reason"].tolist() == ["why"]
    assert tables.scalars["value"].isna().all()


def test_runs_from_before_settings_were_kept_are_read_and_made_compact(tmp_path: Path) -> None:
    write(tmp_path, "old")
    write(tmp_path, "new", minute=1, settings_json='{"threads": "1"}')
    (older,) = tmp_path.glob("runs/*/*/old.parquet")
    table = pq.ParquetFile(older).read()
    pq.write_table(table.drop_columns(["settings_json"]), older)
    for _ in range(2):
        assert [dict(row) for row in Result(read_tables(tmp_path)).runs["settings"]] == [{}, {"threads": "1"}]
        compact(tmp_path)


def test_there_is_one_file_a_table_and_none_for_an_empty_one(tmp_path: Path) -> None:
    write(tmp_path, "a1")
    assert files(tmp_path) == {
        f"{name}/date={DATE}/target={TARGET}/a1.parquet" for name in ("runs", "samples", "scalars")
    }


def test_all_columns_are_there_even_if_no_row_is(tmp_path: Path) -> None:
    for name, schema in TABLES.items():
        frame = read_table(tmp_path, name)
        assert frame.empty
        assert set(schema.names) <= set(frame.columns)


def test_other_programs_can_read_a_file_by_itself(tmp_path: Path) -> None:
    write(tmp_path, "a1")
    table = pq.read_table(tmp_path / "runs" / f"date={DATE}" / f"target={TARGET}" / "a1.parquet", partitioning=None)
    assert table.schema.names == RUNS.names
    assert table.schema.metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()


def test_an_attempt_with_no_samples_is_an_attempt(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=0, status="failed")
    tables = read_tables(tmp_path)
    assert (len(tables.runs), len(tables.samples)) == (1, 0)


def test_dates_and_targets_are_kept_apart_and_read_together(tmp_path: Path) -> None:
    for index, (date, target) in enumerate([(DATE, "x86"), (DATE, "arm64"), ("2026-11-22", "x86")]):
        write_attempt(tmp_path, date, target, attempt(f"a{index}", minute=index))
    runs = read_tables(tmp_path, "all").runs
    assert list(zip(runs["date"], runs["target"], strict=True)) == [
        (DATE, "x86"),
        (DATE, "arm64"),
        ("2026-11-22", "x86"),
    ]


# What is not finished does not exist.


def test_half_an_attempt_is_invisible(tmp_path: Path) -> None:
    write(tmp_path, "a1")
    write(tmp_path, "half", samples=9)
    (tmp_path / "runs" / f"date={DATE}" / f"target={TARGET}" / "half.parquet").unlink()
    assert complete(tmp_path) == {"a1"}
    assert set(read_tables(tmp_path).scalars["attempt_id"]) == {"a1"}


@pytest.mark.parametrize("name", [".a2.parquet.4711", ".a2.parquet", "_a2.parquet", "a2.parquet.part", "notes.txt"])
@pytest.mark.parametrize("table", ["runs", "samples"])
def test_work_in_hand_and_strange_files_are_ignored(tmp_path: Path, table: str, name: str) -> None:
    write(tmp_path, "a1")
    (tmp_path / table / f"date={DATE}" / f"target={TARGET}" / name).write_bytes(b"PAR1 half a file")
    assert complete(tmp_path) == {"a1"}


def test_a_writer_killed_at_any_moment_leaves_whole_attempts_only(tmp_path: Path) -> None:
    acknowledged = set(in_a_process("killed", tmp_path, 30).split())
    assert len(acknowledged) >= 30
    assert acknowledged <= complete(tmp_path)


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    acknowledged = in_a_process("together", tmp_path, 25).split()
    assert len(set(acknowledged)) == len(acknowledged) == 50
    assert complete(tmp_path) == {"before", *acknowledged}
