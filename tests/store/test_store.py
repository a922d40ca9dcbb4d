"""The store as others see it: what is readable is complete, and what cannot be read or written is a sentence."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store.writers import complete

from harness.errors import NothingComparable, StoreError
from harness.store import files as files_module
from harness.store import writer
from harness.store.dataset import read_table, read_tables
from harness.store.schemas import RUNS, SCHEMA_VERSION, TABLES, VERSION_KEY
from harness.store.writer import prepare, write_attempt

pytestmark = pytest.mark.usefixtures("unsynced")

WRITERS = Path(__file__).with_name("writers.py")
DATE, TARGET = "2026-11-21", "x86"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def attempt(
    attempt_id: str, samples: int = 3, session: str = "s1", minute: int = 0, **columns: Any
) -> dict[str, pa.Table]:
    """The tables of one attempt; `model_bytes` says how many samples belong to it."""
    row = {
        "attempt_id": attempt_id,
        "session_id": session,
        "position": 0,
        "started_at": START + timedelta(minutes=minute),
        "status": "ok",
        "flags": ["not_pinned"],
        "model_bytes": samples,
        **columns,
    }
    sample_rows = [
        {"attempt_id": attempt_id, "phase": "steady", "iteration": i, "start_ns": 10 * i, "duration_ns": 5 + i}
        for i in range(samples)
    ]
    scalar = {"attempt_id": attempt_id, "name": "queries", "value": None, "reason": "why"}
    return {
        "runs": pa.Table.from_pylist([row], RUNS),
        "samples": pa.Table.from_pylist(sample_rows, TABLES["samples"]),
        "scalars": pa.Table.from_pylist([scalar], TABLES["scalars"]),
        "ops": TABLES["ops"].empty_table(),
    }


def write(results: Path, attempt_id: str, **more: Any) -> None:
    write_attempt(results, DATE, TARGET, attempt(attempt_id, **more))


def files(results: Path) -> set[str]:
    """Every file below the folder, hidden ones too."""
    return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def in_a_process(*arguments: str | Path) -> str:
    """What `writers.py` printed."""
    done = subprocess.run([sys.executable, WRITERS, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# What is written can be read.


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


# A disk that is full, a folder that cannot be written.


def fail_on_call(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, error: OSError) -> None:
    """Let `owner.name` raise at its call `number`, counted from 1; every other call goes through."""
    original: Callable[..., Any] = getattr(owner, name)
    calls: list[None] = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == number:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", [1, 2, 3], ids="at file {}".format)
@pytest.mark.parametrize(
    ("owner", "name"),
    [(pq, "ParquetWriter"), (os, "replace"), (Path, "open"), (Path, "mkdir")],
    ids=["write", "rename", "open", "mkdir"],
)
def test_a_full_disk_leaves_nothing_of_the_attempt_and_all_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    write(tmp_path, "a1")
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        fail_on_call(patch, owner, name, call, FULL)
        with pytest.raises(StoreError, match="full") as caught:
            write(tmp_path, "a2")
    assert str(tmp_path) in caught.value.what
    assert "--results" in caught.value.todo
    assert "stay" in caught.value.todo
    assert files(tmp_path) == before
    assert complete(tmp_path) == {"a1"}


# Three files, each synced and then its folder: the odd calls are files, the even ones folders.
@pytest.mark.parametrize("call", range(1, 7), ids="at sync {}".format)
def test_a_disk_that_is_found_full_when_synced_leaves_no_half_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    write(tmp_path, "a1")
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        fail_on_call(patch, os, "fsync", call, FULL)
        with pytest.raises(StoreError, match="full"):
            write(tmp_path, "a2")
    assert complete(tmp_path) == {"a1"}
    assert files(tmp_path) == before


def test_a_real_refusal_of_the_kernel_is_a_sentence_too(tmp_path: Path) -> None:
    said = json.loads(in_a_process("refused", tmp_path))
    assert "full" in said["what"]
    assert "--results" in said["todo"]
    assert complete(tmp_path) == {"before"}
    assert not [name for name in files(tmp_path) if "before" not in name]


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EACCES, "Permission denied"), (errno.EROFS, "Read-only file system"), (errno.EIO, "Input/output error")],
)
def test_a_folder_that_cannot_be_written_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    monkeypatch.setattr(writer, "write_file", lambda *args: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with pytest.raises(StoreError, match=said) as caught:
        write(tmp_path, "a1")
    assert str(tmp_path) in caught.value.what
    assert "--results" in caught.value.todo


@pytest.mark.parametrize("act", [prepare, lambda results: write(results, "a1")], ids=["prepare", "write"])
def test_a_folder_below_a_file_is_refused(tmp_path: Path, act: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        act(tmp_path / "file" / "results")


def test_prepare_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b")
    prepare(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_prepare_finds_a_full_disk_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on_call(monkeypatch, Path, "write_bytes", 1, FULL)
    with pytest.raises(StoreError, match="full"):
        prepare(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a\\b", "a\x00", "a b", "ä", "a\n", "%2e", "x=y"])
@pytest.mark.parametrize("place", ["date", "target", "attempt"])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, place: str, name: str) -> None:
    if name == "..":  # no part of a path by itself: it stands behind `date=` or before `.parquet`
        name = "/.."
    parts = {"date": DATE, "target": TARGET, "attempt": "a1"} | {place: name}
    with pytest.raises(ValueError, match="not fit"):
        write_attempt(tmp_path / "results", parts["date"], parts["target"], attempt(parts["attempt"]))
    assert not files(tmp_path)


# What cannot be read.


def rewrite(results: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Put another table in the place of an attempt's."""
    (path,) = (results / table).rglob("*.parquet")
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    return path


def versioned(version: bytes) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({VERSION_KEY: version})


@pytest.mark.parametrize("table", ["runs", "samples", "scalars"])
def test_results_of_a_newer_harness_are_named_with_both_versions(tmp_path: Path, table: str) -> None:
    write(tmp_path, "a1")
    path = rewrite(tmp_path, table, versioned(str(SCHEMA_VERSION + 1).encode()))
    with pytest.raises(StoreError) as caught:
        read_tables(tmp_path)
    assert str(path) in caught.value.what
    assert f"schema {SCHEMA_VERSION + 1}" in caught.value.what
    assert f"up to {SCHEMA_VERSION}" in caught.value.what
    assert "Upgrade" in caught.value.todo


@pytest.mark.parametrize(
    "change", [versioned(b"new"), lambda table: table.replace_schema_metadata(None)], ids=["garbled", "none"]
)
def test_a_table_without_a_version_is_not_of_harness(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    write(tmp_path, "a1")
    path = rewrite(tmp_path, "runs", change)
    with pytest.raises(StoreError, match="is not a table of harness") as caught:
        read_tables(tmp_path)
    assert str(path) in caught.value.what


def test_a_column_of_another_type_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, "a1")
    rewrite(
        tmp_path,
        "runs",
        lambda table: table.set_column(table.schema.get_field_index("session_id"), "session_id", pa.array([{"a": 1}])),
    )
    with pytest.raises(StoreError):
        read_tables(tmp_path)


@pytest.mark.parametrize("table", ["runs", "samples"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path: Path, table: str, keep: float) -> None:
    write(tmp_path, "a1")
    (path,) = (tmp_path / table).rglob("*.parquet")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(StoreError) as caught:
        read_tables(tmp_path)
    assert str(path) in caught.value.what
    assert "Move it out" in caught.value.todo


def test_a_file_damaged_in_the_middle_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=2000)
    (path,) = (tmp_path / "samples").rglob("*.parquet")
    data = bytearray(path.read_bytes())
    for at in range(4, 400):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        read_tables(tmp_path)


# Which rows.


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: (path / "runs").mkdir()], ids=["nothing", "an empty table"]
)
def test_an_empty_store_has_nothing_to_compare(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    with pytest.raises(NothingComparable) as caught:
        read_tables(tmp_path)
    assert caught.value.exit_code == 3
    assert str(tmp_path) in caught.value.what
    assert "harness run" in caught.value.todo


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
