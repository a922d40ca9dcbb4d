"""Rows that are only ever added, one file each; whichever cannot be read is left out and reported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.store.migrations import in_todays_columns
from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY


def files_of(results: Path, ledger: str) -> list[Path]:
    """Its files in a stable order; names that begin with a dot are work in hand."""
    if not os.path.isdir(results / ledger):  # nor can there be one of too long a name
        return []
    return sorted(path for path in (results / ledger).glob("date=*/target=*/*.parquet") if path.name[0] not in "._")


def read_ledger(results: Path, ledger: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of `nights` or `alerts`, with their `target`, and a sentence for each that cannot be read."""
    rows, problems = [], []
    for file in files_of(results, ledger):
        try:
            table = pq.ParquetFile(file).read()
            if int((table.schema.metadata or {})[VERSION_KEY]) > SCHEMA_VERSION:
                problems.append(f"{file} was written by a newer harness and is left out: upgrade harness.")
                continue
            for row in in_todays_columns(ledger, table).to_pylist():
                rows.append(row | {"target": file.parent.name.removeprefix("target=")})
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            problems.append(
                f"{file} is damaged ({type(error).__name__}) and left out: move it out of the results folder."
            )
    return rows, problems
