"""Reading the store: an attempt exists when its row in `runs` does, since that file is written last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from harness.errors import NothingComparable, StoreError, UsageError
from harness.store.schemas import SCHEMA_VERSION, TABLES, VERSION_KEY
from harness.store.sound import sound_attempts

_KEYS = pa.schema([("date", pa.string()), ("target", pa.string())])


@dataclass(frozen=True)
class Tables:
    """Rows of the store: `samples`, `scalars` and the `others` that were asked for only of the attempts in `runs`.

    `problems` is a sentence for each kind of attempts that are left out, because they cannot be read.
    """

    runs: pd.DataFrame
    samples: pd.DataFrame
    scalars: pd.DataFrame
    others: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_tables(results: Path, session: str | None = None, others: Sequence[str] = ()) -> Tables:
    """The rows of one session: the newest for None, every one for "all", else the one whose id begins with `session`;
    and their rows of `others`, tables by name.

    An attempt of which a file is damaged or of a newer schema is left out, and `problems` says so. Raises StoreError
    where that leaves nothing of the session, NothingComparable when there are no rows, UsageError for an ambiguous id.
    """
    try:
        return _tables(results, session, others, None)
    except StoreError as error:
        ids, problems = sound_attempts(
            partial(read_table, results), _attempts(results), ("samples", "scalars", *others)
        )
        try:
            return replace(_tables(results, session, others, ids), problems=problems)
        except NothingComparable:
            raise error from None


def _attempts(results: Path) -> list[str]:
    """By date, so that what an upgrade of harness divides lies side by side."""
    return [Path(file).stem for file in _files(results / "runs", None)]


def _tables(results: Path, session: str | None, others: Sequence[str], attempt_ids: Sequence[str] | None) -> Tables:
    runs = read_table(results, "runs", attempt_ids)
    if runs.empty:
        raise NothingComparable(
            f"There are no results in {results}.", "Run `harness run --target x86 --model NAME` first."
        )
    runs = runs.sort_values(["started_at", "position"], kind="stable")
    if session is None or session == "latest":
        runs = runs[runs["session_id"] == runs["session_id"].iloc[-1]]
    elif session != "all":
        runs = runs[runs["session_id"].str.startswith(session)]
        if runs.empty:
            raise NothingComparable(
                f"No session in {results} begins with {session!r}.", "`harness report --list` shows them."
            )
        if runs["session_id"].nunique() > 1:
            found = ", ".join(runs["session_id"].unique())
            raise UsageError(f"{session!r} begins several sessions: {found}.", "Write more of the one you mean.")
    ids = runs["attempt_id"].tolist()
    return Tables(
        runs.reset_index(drop=True),
        read_table(results, "samples", ids),
        read_table(results, "scalars", ids),
        {name: read_table(results, name, ids) for name in others},
    )


def read_table(results: Path, name: str, attempt_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """One table as a frame, of the attempts given or of all; columns as in `schemas`, `runs` also with its keys
    `date` and `target`.

    Every file must be complete and of a schema this version knows. Raises StoreError naming the first that is not.
    """
    schema = pa.schema([*TABLES[name], *(_KEYS if name == "runs" else ())])
    repeated: tuple[str, ...] = ()
    if name == "samples":  # the long table: two strings a row, each of few values, become categories
        repeated = ("attempt_id", "phase")
        schema = pa.schema(
            [
                column.with_type(pa.dictionary(pa.int32(), pa.string())) if column.name in repeated else column
                for column in schema
            ]
        )
    files = _files(results / name, attempt_ids)
    if not files:
        return _frame(schema.empty_table())
    for file in files:
        _check_version(file)
    parquet = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=repeated))
    dataset = ds.dataset(
        files,
        schema=schema,
        format=parquet,
        partitioning=ds.partitioning(_KEYS, flavor="hive"),
        partition_base_dir=str(results / name),
    )
    try:
        return _frame(dataset.to_table())
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"A file of {results / name} is damaged ({str(error).splitlines()[0]}).",
            "Move it out of the results folder; the other files are sound.",
        ) from error


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _files(folder: Path, attempt_ids: Sequence[str] | None) -> list[str]:
    """Data files in a stable order; names that begin with a dot or an underscore are work in hand."""
    wanted = None if attempt_ids is None else set(attempt_ids)
    return sorted(
        str(file)
        for file in folder.glob("date=*/target=*/*.parquet")
        if not file.name.startswith((".", "_")) and (wanted is None or file.stem in wanted)
    )


def _check_version(file: str) -> None:
    try:
        metadata = pq.read_schema(file).metadata or {}
        version = int(metadata[VERSION_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"{file} is not a table of harness ({type(error).__name__}).",
            "Move it out of the results folder; the other files are sound.",
        ) from error
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{file} was written by a newer harness (schema {version}, this one reads up to {SCHEMA_VERSION}).",
            "Upgrade harness, or give another folder with --results.",
        )
