"""Rows that a bucket did not take: kept in a folder of this machine, a store like any other, until it takes them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from harness.folders import cache_folder
from harness.store.place import list_files, put_file

_LAST = "runs"  # without its row there an attempt does not count


def spool_of(results: Path) -> Path:
    """Where rows for the bucket `results` wait. It need not exist."""
    return cache_folder() / "spool" / hashlib.sha256(str(results).encode()).hexdigest()[:12]


def deliver(results: Path) -> None:
    """Move every waiting row to the bucket, what counts last. Raises OSError at the first that it does not take."""
    from harness.store.schemas import TABLES

    spool, tables = spool_of(results), sorted(TABLES, key=lambda name: name == _LAST)
    waiting = [f"{table}/{name}" for table in tables for name in list_files(spool, table)]
    for path in waiting:
        with suppress(FileNotFoundError):  # another run delivers, too
            put_file(results, path, (spool / path).read_bytes())
    for path in reversed(waiting):
        (spool / path).unlink(missing_ok=True)
