"""Which file holds which attempts.

A writer makes one file an attempt and table, named by the attempt's id. Compaction merges them into files named
`compact-COUNT-HASH.parquet`, whose metadata lists the attempts in them. A crash, or two compactions at once, can leave
an attempt in several files of a table, all with the same rows: it is read from the first, the compact ones before the
others, and thus once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from harness.errors import StoreError
from harness.store.place import file_system, list_files, reaching, why
from harness.store.schemas import SCHEMA_VERSION, TABLES, VERSION_KEY

ATTEMPTS_KEY = b"harness.attempts"
PARTITION = pa.schema([("date", pa.string()), ("target", pa.string())])
_COMPACT = "compact-"
# Footers are read at once; a bucket answers each only after a while.
_AT_ONCE = 8
# A footer of `runs` takes 100 kB of memory: so many are held at a time.
_CHUNK = 512
_REPEATED = ("attempt_id", "phase")
MOVE = "Move it out of the results folder (`harness results check --quarantine` does); the other files are sound."
UPGRADE = "Upgrade harness, or give another folder with --results."


@dataclass(frozen=True)
class File:
    """A data file: `path` in its file system, its partition, and its `name` there."""

    path: str
    date: str
    target: str
    name: str

    @property
    def attempt_id(self) -> str | None:
        """Whose rows it has; None for a compact file, which has those of many."""
        return None if self.name.startswith(_COMPACT) else self.name.removesuffix(".parquet")

    @property
    def count(self) -> int:
        """How many attempts are in it, by its name."""
        number = self.name.split("-")[1] if self.attempt_id is None and self.name.count("-") > 1 else "1"
        return int(number) if number.isdigit() else 1


@dataclass(frozen=True)
class Damage:
    """A file that cannot be read, and the error that says why."""

    file: File
    error: StoreError


@dataclass(frozen=True)
class Rows:
    """The rows of a table, whose rows they are, and the files that could not be read."""

    table: pa.Table
    attempts: frozenset[str]
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class Part:
    """What is read of a file: the rows of `attempts`; `complete` says that these are all that are in it."""

    file: File
    fragment: Any
    attempts: tuple[str, ...]
    complete: bool = True


def compact_name(attempts: Collection[str]) -> str:
    """The name of the file with exactly these attempts: made twice, it is one file."""
    digest = hashlib.sha256("\n".join(sorted(attempts)).encode()).hexdigest()
    return f"{_COMPACT}{len(attempts)}-{digest[:16]}.parquet"


def files_of(results: Path, table: str, partitions: Collection[tuple[str, str]] | None = None) -> list[File]:
    """The data files of a table, by date, target and name; of all partitions (date and target) or only these."""
    root = file_system(results)[1]
    files = []
    for relative in list_files(results, table, partitions):
        date, target, name = relative.split("/")
        path = f"{root}/{table}/{relative}"
        files.append(File(path, date.removeprefix("date="), target.removeprefix("target="), name))
    return files


def read_files(
    results: Path,
    table: str,
    files: Sequence[File],
    wanted: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Rows:
    """The rows that these files of a table have of the attempts `wanted` (None: of all), each attempt's once.

    `columns` are all of `schema_of` for None. Raises FileNotFoundError where a file is gone since it was listed,
    StoreError where the store cannot be reached.
    """
    ids = None if wanted is None else set(wanted)
    needed = [file for file in files if file.attempt_id is None or ids is None or file.attempt_id in ids]
    needed.sort(key=lambda file: (file.attempt_id is not None, file.path))
    schema = schema_of(table)
    schema = pa.schema([schema.field(name) for name in columns]) if columns is not None else schema
    tables, damages, seen = [schema.empty_table()], list[Damage](), set[str]()
    for begin in range(0, len(needed), _CHUNK):
        parts = []
        for part in open_files(results, table, needed[begin : begin + _CHUNK]):
            if isinstance(part, Damage):
                damages.append(part)
                continue
            attempts = tuple(
                attempt for attempt in part.attempts if attempt not in seen and (ids is None or attempt in ids)
            )
            if attempts:
                parts.append(replace(part, attempts=attempts, complete=len(attempts) == len(part.attempts)))
            seen.update(attempts)
        table_of_chunk, worse = _read_sound(results, table, parts, schema)
        for damage in worse:
            seen.difference_update(*(part.attempts for part in parts if part.file == damage.file))
        tables, damages = [*tables, table_of_chunk], damages + worse
    return Rows(pa.concat_tables(tables), frozenset(seen), tuple(damages))


def open_files(results: Path, table: str, files: Sequence[File]) -> list[Part | Damage]:
    """Their footers: which attempts are in each file, or why it cannot be read."""
    parquet, system = _format(table), file_system(results)[0]

    def opened(file: File) -> Part | Damage:
        where = (ds.field("date") == file.date) & (ds.field("target") == file.target)
        fragment = parquet.make_fragment(file.path, filesystem=system, partition_expression=where)
        try:
            with reaching(results):
                metadata = fragment.metadata.metadata or {}
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            return Damage(file, damaged(file, error))
        try:
            return Part(file, fragment, attempts_in(file, metadata))
        except StoreError as error:
            return Damage(file, error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(opened, files))


def _read(results: Path, table: str, parts: Sequence[Part], schema: pa.Schema) -> pa.Table:
    """Their rows. Raises what pyarrow does."""
    names = schema.names
    with reaching(results):
        tables = [
            part.fragment.to_table(schema, names, filter=ds.field("attempt_id").isin(part.attempts))
            for part in parts
            if not part.complete
        ]
        if complete := [part.fragment for part in parts if part.complete]:
            dataset = ds.FileSystemDataset(complete, schema, _format(table), file_system(results)[0])
            tables.append(dataset.to_table(names))
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _read_sound(results: Path, table: str, parts: Sequence[Part], schema: pa.Schema) -> tuple[pa.Table, list[Damage]]:
    """As `_read`, without the files of which a page turns out to be damaged; found by halves."""
    try:
        return _read(results, table, parts, schema), []
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        if len(parts) == 1:
            return schema.empty_table(), [Damage(parts[0].file, damaged(parts[0].file, error))]
    middle = len(parts) // 2
    first, second = (_read_sound(results, table, half, schema) for half in (parts[:middle], parts[middle:]))
    return pa.concat_tables([first[0], second[0]]), first[1] + second[1]


def damaged(file: File, error: Exception) -> StoreError:
    """The sentence on a file that cannot be read."""
    reason = why(error) if isinstance(error, OSError) else str(error).splitlines()[0].rstrip(".")
    return StoreError(f"{file.path} is damaged ({reason}).", MOVE)


def in_quarantine(file: File) -> StoreError:
    """The sentence on a file that was moved away: its attempts are left out, as they were before."""
    return StoreError(f"{file.path} is in quarantine.", "The reason lies beside it; repair it, and put it back.")


def attempts_in(file: File, metadata: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Whose rows are in the file, by its metadata. Raises StoreError where it is not of a schema that this
    version knows.
    """
    try:
        version = int(metadata[VERSION_KEY])
        attempts = (file.attempt_id,) if file.attempt_id is not None else tuple(json.loads(metadata[ATTEMPTS_KEY]))
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{file.path} is not a table of harness ({type(error).__name__}).", MOVE) from error
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{file.path} was written by a newer harness (schema {version}, this one reads up to {SCHEMA_VERSION}).",
            UPGRADE,
        )
    return attempts


def schema_of(table: str) -> pa.Schema:
    """The columns of a table as they are read: `runs` with the keys `date` and `target`, and in the long table two
    strings a row, each of few values, as categories.
    """
    if table == "runs":
        return pa.schema([*TABLES[table], *PARTITION])
    category = pa.dictionary(pa.int32(), pa.string())
    repeated = _REPEATED if table == "samples" else ()
    return pa.schema([field.with_type(category) if field.name in repeated else field for field in TABLES[table]])


def _format(table: str) -> Any:
    repeated = _REPEATED if table == "samples" else ()
    return ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=repeated))
