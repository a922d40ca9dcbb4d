"""Merging small files: one file a table, date and target, in the place of one an attempt.

Nothing is locked. A merged file is written beside the files that it replaces, and appears whole; when all of them are
there, what they replace is deleted. Whoever reads at any moment, or after a crash, finds each attempt in one file at
least, and reads it from one (`harness.store.files`). The next compaction finishes what was cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import StoreError
from harness.store.files import ATTEMPTS_KEY, Damage, File, Part, compact_name, files_of, open_files, read_files
from harness.store.place import delete, file_system, sizes, why
from harness.store.schemas import TABLES
from harness.store.unfinished import delete_unfinished
from harness.store.writer import write_file

# Rows of a row group: of samples some forty processes.
_GROUP = 65_536


@dataclass(frozen=True)
class Merge:
    """Files of one table, date and target that become one, which has these attempts; it may be there already, where a
    compaction was cut before it deleted the others.
    """

    table: str
    files: tuple[File, ...]
    attempts: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it becomes."""
        return compact_name(self.attempts)

    @property
    def path(self) -> str:
        """Where, below the results."""
        return f"{self.table}/date={self.files[0].date}/target={self.files[0].target}/{self.name}"


@dataclass(frozen=True)
class Compacted:
    """`files_before` became `files_after`; `bytes_after` is None where nothing was written yet. `left` are files that
    cannot be read, which stay as they are.
    """

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int | None
    left: tuple[Damage, ...]


def plan(results: Path) -> tuple[list[Merge], list[Damage]]:
    """What there is to merge, and the files whose beginning or end cannot be read. Attempts that have no row in `runs`,
    perhaps since they are being written, are left alone. Raises StoreError where the store cannot be reached.
    """
    merges: list[Merge] = []
    damages: list[Damage] = []
    counted: dict[tuple[str, str], set[str]] = {}
    for table in sorted(TABLES, key=lambda name: name != "runs"):
        partitions: dict[tuple[str, str], list[File]] = {}
        for file in files_of(results, table):
            partitions.setdefault((file.date, file.target), []).append(file)
        for where, files in partitions.items():
            members: dict[File, tuple[str, ...]] = {}
            for part in open_files(results, table, [file for file in files if file.attempt_id is None]):
                if isinstance(part, Part):
                    members[part.file] = part.attempts
                else:
                    damages.append(part)
            members |= {file: (file.attempt_id,) for file in files if file.attempt_id is not None}
            if table == "runs":
                counted[where] = {attempt for attempts in members.values() for attempt in attempts}
            known = counted.get(where, set())
            members = {file: attempts for file, attempts in members.items() if known.issuperset(attempts)}
            if len(members) > 1:
                attempts = sorted({attempt for file_attempts in members.values() for attempt in file_attempts})
                merges.append(Merge(table, tuple(members), tuple(attempts)))
    return merges, damages


def planned(results: Path) -> Compacted:
    """What `compact` would do."""
    merges, damages = plan(results)
    files = [file for merge in merges for file in merge.files]
    return Compacted(len(files), len(merges), sizes(results, [file.path for file in files]), None, tuple(damages))


def compact(results: Path, on_step: Callable[[int, int], None] = lambda done, total: None) -> Compacted:
    """Merge everything there is to merge; `on_step` hears how many of how many files are written.

    Raises StoreError where the store cannot be read or written: what was merged until then stays merged.
    """
    merges, damages = plan(results)
    root = file_system(results)[1]
    replaced: list[File] = []
    written: list[str] = []
    try:
        for number, merge in enumerate(merges, 1):
            done, worse = _merged(results, merge)
            damages += worse
            if done is not None:
                written.append(f"{root}/{done.path}")
                replaced += [file for file in done.files if file.path != written[-1]]
            on_step(number, len(merges))
        before, after = (sizes(results, paths) for paths in ([file.path for file in replaced], written))
        for file in replaced:
            delete(results, file.path)
    except OSError as error:
        raise StoreError(
            f"{results} cannot be compacted ({why(error)}).", "No row is lost; correct that, and compact again."
        ) from error
    delete_unfinished(results)
    return Compacted(len(replaced), len(written), before, after, tuple(damages))


def _merged(results: Path, merge: Merge) -> tuple[Merge | None, list[Damage]]:
    """Write the merged file, unless it is there; None where another compaction was quicker, or too little can be
    read. Files with damaged pages are left out, and given. Raises OSError.
    """
    if any(file.name == merge.name for file in merge.files):
        return merge, []
    schema = TABLES[merge.table]
    try:
        rows = read_files(results, merge.table, merge.files, columns=schema.names)
    except FileNotFoundError:
        return None, []
    bad = {damage.file for damage in rows.damages}
    table = rows.table.cast(schema)
    merge = replace(merge, files=tuple(file for file in merge.files if file not in bad), attempts=tuple(rows.attempts))
    # A file that was renamed by hand has other rows than its name says: it is left alone.
    if len(merge.files) > 1 and set(table["attempt_id"].unique().to_pylist()) == rows.attempts:
        groups = (table.slice(begin, _GROUP) for begin in range(0, len(table), _GROUP))
        attempts = {ATTEMPTS_KEY: json.dumps(sorted(merge.attempts)).encode()}
        write_file(results, merge.path, schema, groups, attempts)
        return merge, list(rows.damages)
    return None, list(rows.damages)
