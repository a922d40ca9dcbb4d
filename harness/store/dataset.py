"""Reading the store: an attempt exists when its row in `runs` does, since that file is written last."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa

from harness.errors import NothingComparable, StoreError, UsageError
from harness.store.files import Damage, File, files_of, in_quarantine, read_files, schema_of
from harness.store.left_out import sentences

T = TypeVar("T")
# What tells the sessions apart; the other columns of `runs` are read of the chosen ones alone.
_KEYS = ("attempt_id", "session_id", "position", "started_at", "model_sha256", "date", "target")
# Compaction deletes what it has replaced in a moment: a reader that met it looks again.
_TRIES, _PAUSE_S = 20, 0.2


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
    return _steadily(lambda: _tables(results, session, others))


def read_sessions(results: Path, sessions: Collection[str]) -> Tables:
    """The rows of these sessions, by their whole ids; empty tables where there are none. Raises StoreError."""

    def read() -> Tables:
        files = files_of(results, "runs")
        keys = _runs(results, files, columns=_KEYS)
        return _complete(results, _chosen(results, files, keys, keys.rows["session_id"].isin(list(sessions))), ())

    return _steadily(read)


def read_runs(results: Path) -> Tables:
    """The rows of `runs` alone, of all sessions; the other tables are empty. Raises as `read_tables`."""

    def read() -> Tables:
        runs = _runs(results, files_of(results, "runs"))
        lost = [(damage.error, damage.file.count) for damage in runs.damages]
        if runs.rows.empty and lost:
            raise lost[0][0]
        samples, scalars = (_frame(schema_of(name).empty_table()) for name in ("samples", "scalars"))
        return Tables(runs.rows.reset_index(drop=True), samples, scalars, problems=sentences(lost))

    tables = _steadily(read)
    if tables.runs.empty:
        raise _nothing(results)
    return tables


def read_table(results: Path, name: str, attempt_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """One table as a frame, of the attempts given or of all; columns as in `schemas`, `runs` also with its keys
    `date` and `target`.

    Every file must be complete and of a schema this version knows. Raises StoreError naming the first that is not.
    """
    rows = _steadily(lambda: read_files(results, name, files_of(results, name), attempt_ids))
    if rows.damages:
        raise rows.damages[0].error
    return _frame(rows.table)


@dataclass(frozen=True)
class _Runs:
    """Rows of `runs` in the order in which they were made, and its files that could not be read."""

    rows: pd.DataFrame
    damages: tuple[Damage, ...]


def _tables(results: Path, session: str | None, others: Sequence[str]) -> Tables:
    files = files_of(results, "runs")
    if session == "all":
        runs = _runs(results, files)
    elif session is None or session == "latest":
        keys = _newest(results, files)
        newest = keys.rows["session_id"] == (keys.rows["session_id"].iloc[-1] if len(keys.rows) else "")
        runs = _chosen(results, files, keys, newest)
    else:
        keys = _runs(results, files, columns=_KEYS)
        runs = _chosen(
            results,
            files,
            keys,
            keys.rows["session_id"].map(lambda session_id: session_id.startswith(session)).astype(bool),
        )
    tables = _complete(results, runs, others)
    if tables.runs.empty and runs.damages:
        raise runs.damages[0].error
    if tables.runs.empty and (session in (None, "latest", "all") or not files):
        raise _nothing(results)
    if tables.runs.empty:
        raise NothingComparable(
            f"No session in {results} begins with {session!r}.", "`harness report --list` shows them."
        )
    if session not in (None, "latest", "all") and tables.runs["session_id"].nunique() > 1:
        named = ", ".join(tables.runs["session_id"].unique())
        raise UsageError(f"{session!r} begins several sessions: {named}.", "Write more of the one you mean.")
    return tables


def _runs(
    results: Path,
    files: Sequence[File],
    attempts: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
) -> _Runs:
    rows = read_files(results, "runs", files, attempts, columns)
    return _Runs(_frame(rows.table).sort_values(["started_at", "position"], kind="stable"), rows.damages)


def _newest(results: Path, files: Sequence[File]) -> _Runs:
    """The keys of the newest session, and perhaps of others, without a look at every day of a store that holds years.

    From the newest day backwards, to a day without a row of it. Nothing older is missing then if its first row follows
    one description of each of its models, which are the first jobs of a session and leave no row.
    """
    keys = _runs(results, [], columns=_KEYS)
    for date in sorted({file.date for file in files}, reverse=True):
        day = _runs(results, [file for file in files if file.date == date], columns=_KEYS)
        rows = pd.concat([day.rows, keys.rows]).sort_values(["started_at", "position"], kind="stable")
        keys = _Runs(rows, (*keys.damages, *day.damages))
        newest = rows[rows["session_id"] == rows["session_id"].iloc[-1]] if len(rows) else rows
        begun = len(newest) > 0 and newest["position"].min() <= newest["model_sha256"].nunique()
        if begun and date not in set(newest["date"]):
            break
    return keys


def _chosen(results: Path, files: Sequence[File], keys: _Runs, which: pd.Series[bool]) -> _Runs:
    """The whole rows of some of `keys`."""
    rows = keys.rows[which]
    partitions = set(zip(rows["date"], rows["target"], strict=True))
    near = [file for file in files if (file.date, file.target) in partitions]
    runs = _runs(results, near, rows["attempt_id"].tolist())
    return _Runs(runs.rows, tuple(dict.fromkeys((*keys.damages, *runs.damages))))


def _complete(results: Path, runs: _Runs, others: Sequence[str]) -> Tables:
    """The runs with their rows of the other tables, without those of which a file cannot be read."""
    rows, lost = runs.rows, [(damage.error, damage.file.count) for damage in runs.damages]
    partitions = set(zip(rows["date"], rows["target"], strict=True))
    frames = {}
    for name in ("samples", "scalars", *others):
        table = read_files(results, name, files_of(results, name, partitions), rows["attempt_id"].tolist())
        frames[name] = _frame(table.table)
        moved = [Damage(file, in_quarantine(file)) for file in files_of(results, f"quarantine/{name}", partitions)]
        for damage in (*table.damages, *moved):
            # Of a compact file nobody can say whose rows were in it: all of its partition that are in no other.
            hit = rows["attempt_id"] == damage.file.attempt_id
            if damage.file.attempt_id is None:
                hit = (rows["date"] == damage.file.date) & (rows["target"] == damage.file.target)
            hit &= ~rows["attempt_id"].isin(list(table.attempts))
            rows, lost = rows[~hit], [*lost, (damage.error, int(hit.sum()))]
    if rows.empty and lost:
        raise lost[0][0]
    if len(rows) < len(runs.rows):
        frames = {name: frame[frame["attempt_id"].isin(rows["attempt_id"])] for name, frame in frames.items()}
    samples, scalars = frames.pop("samples"), frames.pop("scalars")
    return Tables(rows.reset_index(drop=True), samples, scalars, frames, sentences(lost))


def _nothing(results: Path) -> NothingComparable:
    return NothingComparable(
        f"There are no results in {results}.", "Run `harness run --target x86 --model NAME` first."
    )


def _steadily(read: Callable[[], T]) -> T:
    """What `read` gives, once no file vanishes under it. Raises StoreError where that never happens."""
    for _ in range(_TRIES):
        try:
            return read()
        except FileNotFoundError as error:
            missing = error
            time.sleep(_PAUSE_S)
    raise StoreError(
        f"Files of the store vanish while they are read, the last: {missing}.", "Wait until nothing deletes them."
    ) from missing


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame
