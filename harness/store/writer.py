"""Writing the store: a job attempt is one file a table, and all of them or none become visible.

In a folder each file is written under a temporary name, synced and renamed, and its folder synced; in a bucket an
object appears whole or not at all. The row in `runs` comes last. A reader, a crash or a second writer can therefore
never meet half an attempt: without its `runs` file the others do not count.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.atomic_files import is_full
from harness.errors import StoreError
from harness.store.mark import temporary
from harness.store.place import is_local, put_file, why

# pyarrow is imported by who writes: `prepare` is asked before the first worker starts, and need not wait for it.
if TYPE_CHECKING:
    import pyarrow as pa

_SAFE = re.compile(r"[A-Za-z0-9._-]+")


def prepare(results: Path) -> None:
    """Make the folder and prove that it can be written, before minutes are spent measuring; what an earlier run could
    not write to a bucket is written first. Raises StoreError.
    """
    try:
        if is_local(results):
            results.mkdir(parents=True, exist_ok=True)
            probe = temporary(results / "probe")
            probe.write_bytes(b"x")
            probe.unlink()
        else:
            from harness.store.spool import deliver

            put_file(results, ".probe", b"x")
            deliver(results)
    except OSError as error:
        raise _explain(results, error) from error


def write_attempt(results: Path, date: str, target: str, tables: Mapping[str, pa.Table]) -> None:
    """Write the tables of one attempt (`runs`, one row, is required; empty tables are left out).

    `date` is ISO (2026-11-21). Raises StoreError when the disk is full or the folder cannot be written; nothing of
    the attempt is then visible, and what was written before is untouched. What a bucket does not take is kept in a
    folder of this machine, which the error names.
    """
    from harness.store.schemas import TABLES

    attempt_id = tables["runs"]["attempt_id"][0].as_py()
    _check_names(date, target, attempt_id)
    last = sorted(tables, key=lambda name: name == "runs")
    written: list[str] = []
    try:
        for name in last:
            if tables[name].num_rows:
                written.append(f"{name}/date={date}/target={target}/{attempt_id}.parquet")
                write_file(results, written[-1], TABLES[name], [tables[name].cast(TABLES[name])])
    except OSError as error:
        if not is_local(results):
            from harness.store.spool import spool_of

            write_attempt(spool_of(results), date, target, tables)
            raise _explain(results, error, spool_of(results)) from error
        for path in reversed(written):  # the row in `runs` first: what is left must be invisible
            with contextlib.suppress(OSError):
                (results / path).unlink()
        raise _explain(results, error) from error


def write_row(results: Path, ledger: str, date: str, target: str, name: str, row: Mapping[str, Any]) -> None:
    """Write one row of a ledger (`nights` or `alerts`) as the file `name`, as atomically as an attempt.

    Raises StoreError when the disk is full or the folder cannot be written; the row is then not visible.
    """
    import pyarrow as pa

    from harness.store.schemas import LEDGERS

    _check_names(date, target, name)
    path = f"{ledger}/date={date}/target={target}/{name}.parquet"
    try:
        write_file(results, path, LEDGERS[ledger], [pa.Table.from_pylist([dict(row)], LEDGERS[ledger])])
    except OSError as error:
        with contextlib.suppress(OSError):
            (results / path).unlink()
        raise _explain(results, error) from error


def write_file(
    results: Path, path: str, schema: pa.Schema, tables: Iterable[pa.Table], metadata: Mapping[bytes, bytes] = {}
) -> None:
    """Write a Parquet file, a row group a table, at `path` below the results; it appears whole or not at all.

    Raises OSError.
    """
    import io

    buffer = io.BytesIO()
    _write_parquet(buffer, schema, tables, metadata)
    put_file(results, path, buffer.getbuffer())


def _write_parquet(
    file: IO[bytes], schema: pa.Schema, tables: Iterable[pa.Table], metadata: Mapping[bytes, bytes]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY

    marked = schema.with_metadata({VERSION_KEY: str(SCHEMA_VERSION).encode(), **metadata})
    with pq.ParquetWriter(
        file,
        marked,
        compression="zstd",
        use_dictionary=[field.name for field in schema if field.type == pa.string()],
        # Clock readings grow steadily: their differences take a fraction of the space.
        column_encoding={"start_ns": "DELTA_BINARY_PACKED"} if "start_ns" in schema.names else None,
    ) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(marked.metadata))


def _check_names(*parts: str) -> None:
    for part in parts:
        if not _SAFE.fullmatch(part):
            raise ValueError(f"not fit for a folder name: {part!r}")


def _explain(results: Path, error: OSError, spool: Path | None = None) -> StoreError:
    reassurance = "Rows written before are complete and stay."
    if spool is not None:
        return StoreError(
            f"Results cannot be written to {results} ({why(error)}); the last rows are kept in {spool}.",
            f"The next `harness run` into it delivers them. {reassurance}",
        )
    if is_full(error):
        return StoreError(
            f"The disk of {results} is full.", f"Free space or give another folder with --results. {reassurance}"
        )
    return StoreError(
        f"Results cannot be written to {results} ({why(error)}).",
        f"Give a folder you may write with --results. {reassurance}",
    )
