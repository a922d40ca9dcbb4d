"""Writing the store: a job attempt is one file a table, and all of them or none become visible.

Each file is written under a temporary name, synced and renamed, and its folder synced; the row in `runs` comes last.
A reader, a crash or a second writer can therefore never meet half an attempt: without its `runs` file the others do
not count.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError

# pyarrow is imported by who writes: `prepare` is asked before the first worker starts, and need not wait for it.
if TYPE_CHECKING:
    import pyarrow as pa

_SAFE = re.compile(r"[A-Za-z0-9._-]+")


def prepare(results: Path) -> None:
    """Make the folder and prove that it can be written, before minutes are spent measuring. Raises StoreError."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = results / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise _explain(results, error) from error


def write_attempt(results: Path, date: str, target: str, tables: Mapping[str, pa.Table]) -> None:
    """Write the tables of one attempt (`runs`, one row, is required; empty tables are left out).

    `date` is ISO (2026-11-21). Raises StoreError when the disk is full or the folder cannot be written; nothing of
    the attempt is then visible, and what was written before is untouched.
    """
    from harness.store.schemas import TABLES

    attempt_id = tables["runs"]["attempt_id"][0].as_py()
    for part in (date, target, attempt_id):
        if not _SAFE.fullmatch(part):
            raise ValueError(f"not fit for a folder name: {part!r}")
    last = sorted(tables, key=lambda name: name == "runs")
    written: list[Path] = []
    try:
        for name in last:
            if tables[name].num_rows:
                written.append(results / name / f"date={date}" / f"target={target}" / f"{attempt_id}.parquet")
                _write(written[-1], tables[name].cast(TABLES[name]))
    except OSError as error:
        for path in reversed(written):  # the row in `runs` first: what is left must be invisible
            with contextlib.suppress(OSError):
                path.unlink()
        raise _explain(results, error) from error


def write_row(results: Path, ledger: str, date: str, target: str, name: str, row: Mapping[str, Any]) -> None:
    """Write one row of a ledger (`nights` or `alerts`) as the file `name`, as atomically as an attempt.

    Raises StoreError when the disk is full or the folder cannot be written; the row is then not visible.
    """
    import pyarrow as pa

    from harness.store.schemas import LEDGERS

    for part in (date, target, name):
        if not _SAFE.fullmatch(part):
            raise ValueError(f"not fit for a folder name: {part!r}")
    path = results / ledger / f"date={date}" / f"target={target}" / f"{name}.parquet"
    try:
        _write(path, pa.Table.from_pylist([dict(row)], LEDGERS[ledger]))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise _explain(results, error) from error


def _write(path: Path, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    metadata = {**(table.schema.metadata or {}), VERSION_KEY: str(SCHEMA_VERSION).encode()}
    try:
        with temporary.open("wb") as file:
            pq.write_table(
                table.replace_schema_metadata(metadata),
                file,
                compression="zstd",
                use_dictionary=[field.name for field in table.schema if field.type == pa.string()],
                # Clock readings grow steadily: their differences take a fraction of the space.
                column_encoding={"start_ns": "DELTA_BINARY_PACKED"} if "start_ns" in table.schema.names else None,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _explain(results: Path, error: OSError) -> StoreError:
    kept = "Rows written before are complete and stay."
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreError(
            f"The disk of {results} is full.", f"Free space or give another folder with --results. {kept}"
        )
    return StoreError(
        f"Results cannot be written to {results} ({error.strerror or error}).",
        f"Give a folder you may write with --results. {kept}",
    )
