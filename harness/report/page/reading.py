"""Reading what can be read: a page shows the sound attempts of a folder and says what it left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.errors import NothingComparable, StoreError
from harness.report.cells import plural
from harness.store.dataset import Tables, read_table, read_tables


@dataclass(frozen=True)
class Sound:
    """The rows of the attempts whose files can all be read; `problems` is a sentence for each kind that cannot."""

    tables: Tables
    ops: pd.DataFrame
    io: pd.DataFrame
    problems: tuple[str, ...] = ()


def read_sound(results: Path, session: str) -> Sound:
    """What there is of `session` (as in `read_tables`), without the attempts that are damaged or of a newer schema.

    Raises NothingComparable where there are no rows of that session, StoreError where no attempt can be read,
    UsageError as `read_tables` does.
    """
    try:
        return _with_profiles(results, read_tables(results, session))
    except StoreError:
        # By date, so that what an upgrade of harness divides lies side by side.
        files = sorted((results / "runs").glob("date=*/target=*/[!._]*.parquet"))
        ids, errors = _divide(results, [file.stem for file in files])
        if not ids:
            raise
        return _with_profiles(results, _chosen(results, ids, session), _sentences(errors))


def _with_profiles(results: Path, tables: Tables, problems: tuple[str, ...] = ()) -> Sound:
    ids = tables.runs["attempt_id"].tolist()
    return Sound(tables, read_table(results, "ops", ids), read_table(results, "io", ids), problems)


def _divide(results: Path, ids: Sequence[str]) -> tuple[list[str], list[StoreError]]:
    """The attempts that can be read, and one error for each that cannot, found by halves."""
    try:
        for name in ("runs", "samples", "scalars", "ops", "io"):
            read_table(results, name, ids)
    except StoreError as error:
        if len(ids) == 1:
            return [], [error]
        middle = len(ids) // 2
        first, second = _divide(results, ids[:middle]), _divide(results, ids[middle:])
        return first[0] + second[0], first[1] + second[1]
    return list(ids), []


def _chosen(results: Path, ids: Sequence[str], session: str) -> Tables:
    runs = read_table(results, "runs", ids).sort_values(["started_at", "position"], kind="stable")
    if session == "latest":
        runs = runs[runs["session_id"] == runs["session_id"].iloc[-1]]
    elif session != "all":
        runs = runs[runs["session_id"].str.startswith(session)]
    if runs.empty:
        raise NothingComparable(
            f"No session in {results} that can be read begins with {session!r}.",
            "Leave --session out to see all that can.",
        )
    kept = runs["attempt_id"].tolist()
    return Tables(
        runs.reset_index(drop=True), read_table(results, "samples", kept), read_table(results, "scalars", kept)
    )


def _sentences(errors: Sequence[StoreError]) -> tuple[str, ...]:
    """One a remedy, naming the first file."""
    kinds: dict[str, list[StoreError]] = {}
    for error in errors:
        kinds.setdefault(error.todo, []).append(error)
    return tuple(
        f"{plural(len(found), 'attempt')} left out, the first: {found[0].what} {todo}" for todo, found in kinds.items()
    )
