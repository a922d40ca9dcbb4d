"""Looking through a whole store: every page of every file is read, and what is in one file is held against the others.

What cannot be read can be moved to `quarantine/` beside the tables, with the reason; nothing is ever deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import StoreError
from harness.store.files import UPGRADE, File, attempts_in, damaged, files_of
from harness.store.migrations import in_todays_columns
from harness.store.place import file_system, put_file, reaching, why
from harness.store.schemas import LEDGERS, TABLES

Kind = Literal["damaged", "newer", "mislabelled", "doubled", "orphan", "leftover", "clock"]
# With these all rows that count are read: they are reported, and are no fault of the store.
HARMLESS = ("orphan", "leftover", "clock")


@dataclass(frozen=True)
class Finding:
    """A sentence on a file of a table."""

    kind: Kind
    table: str
    file: File
    what: str

    @property
    def harmless(self) -> bool:
        """Whether every row that counts is read all the same."""
        return self.kind in HARMLESS


@dataclass(frozen=True)
class Checked:
    """`files` were read, with `attempts` that count; `findings` are what is not as it should be."""

    files: int
    attempts: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Read:
    """A file that could be read: whose rows it says that it has, and whose it has."""

    file: File
    named: frozenset[str]
    present: frozenset[str]


def check(results: Path, on_step: Callable[[int, int], None] = lambda done, total: None) -> Checked:
    """Read everything; `on_step` hears how many of how many files are read. Raises StoreError where the store cannot
    be reached.
    """
    files = [(table, file) for table in (*TABLES, *LEDGERS) for file in files_of(results, table)]
    findings: list[Finding] = []
    sound: dict[str, list[_Read]] = {table: [] for table in TABLES}
    for number, (table, file) in enumerate(files, 1):
        try:
            rows, named = _rows(results, table, file)
        except StoreError as error:
            findings.append(Finding("newer" if error.hint == UPGRADE else "damaged", table, file, str(error)))
        except FileNotFoundError:
            pass  # compacted since it was listed
        else:
            findings += [Finding("clock", table, file, what) for what in _clocks(table, file, rows)]
            if table in TABLES:
                present = frozenset(rows["attempt_id"].unique().to_pylist())
                sound[table].append(_Read(file, frozenset(named), present))
                if table == "runs" and len(rows) > len(present):
                    what = f"{file.path} has {len(rows)} runs of {len(present)} attempts."
                    findings.append(Finding("doubled", table, file, what))
        on_step(number, len(files))
    counted = {attempt for read in sound["runs"] for attempt in read.present}
    for table, reads in sound.items():
        findings += _between(table, reads, counted)
    return Checked(len(files), len(counted), tuple(findings))


def quarantine(results: Path, finding: Finding) -> str:
    """Move a damaged file to `quarantine/`, with the reason beside it, and give its new path. Raises StoreError."""
    files, root = file_system(results)
    moved = f"{root}/quarantine{finding.file.path.removeprefix(root)}"
    reason = json.dumps({"from": finding.file.path, "kind": finding.kind, "reason": finding.what}, indent=1)
    try:
        files.create_dir(moved.rpartition("/")[0])
        put_file(results, f"{moved.removeprefix(root + '/')}.reason.json", reason.encode())
        files.move(finding.file.path, moved)
    except OSError as error:
        raise StoreError(
            f"{finding.file.path} cannot be moved to quarantine ({why(error)}).", "It stays where it was."
        ) from error
    return moved


def _rows(results: Path, table: str, file: File) -> tuple[pa.Table, tuple[str, ...]]:
    """Every row of a file, and whose they are by its name or metadata. Raises StoreError, FileNotFoundError."""
    schema = (TABLES | LEDGERS)[table]
    try:
        with reaching(results), file_system(results)[0].open_input_file(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            named = attempts_in(file, parquet.schema_arrow.metadata or {})
            rows = parquet.read()
            rows = in_todays_columns(table, rows) if table in LEDGERS else rows.select(schema.names)
            return rows.cast(schema), named
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise damaged(file, error) from error


def _between(table: str, reads: Sequence[_Read], counted: set[str]) -> Iterator[Finding]:
    """What only shows between files."""
    homes: dict[str, File] = {}
    for read in sorted(reads, key=lambda read: (read.file.attempt_id is not None, read.file.path)):
        file = read.file
        if read.named != read.present:
            what = f"{file.path} has not the rows of the attempts that it names: it was renamed or changed."
            yield Finding("mislabelled", table, file, what)
        again = [homes[attempt] for attempt in read.present if attempt in homes]
        if any((home.date, home.target) != (file.date, file.target) for home in again):
            yield Finding("doubled", table, file, f"{file.path} has attempts that are in {again[0].path} too.")
        elif again:
            what = f"{file.path} is in {again[0].path} already, since a compaction was cut; the next deletes it."
            yield Finding("leftover", table, file, what)
        if lost := read.present - counted:
            what = f"{file.path} has rows of {len(lost)} attempts without a run: cut while they were written."
            yield Finding("orphan", table, file, what)
        homes |= {attempt: homes.get(attempt, file) for attempt in read.present}


def _clocks(table: str, file: File, rows: pa.Table) -> Iterator[str]:
    """Clocks that went backwards while an attempt ran."""
    if table == "runs" and (back := pc.sum(pc.less(rows["finished_at"], rows["started_at"])).as_py()):
        yield f"{file.path}: the clock went backwards during {back} of {len(rows)} runs, which end before they begin."
    if table == "samples" and len(rows):
        before, after = rows.slice(0, len(rows) - 1), rows.slice(1)
        same = pc.and_(*(pc.equal(before[name], after[name]) for name in ("attempt_id", "phase")))
        fell = pc.and_(same, pc.less(after["start_ns"], before["start_ns"]))
        if back := sum(pc.sum(backwards).as_py() or 0 for backwards in (fell, pc.less(rows["duration_ns"], 0))):
            yield f"{file.path}: the worker's clock went backwards at {back} of {len(rows)} samples."
