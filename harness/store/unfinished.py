"""Files that a writer did not finish: under their temporary names, which say whose they are.

A name ends in the machine and the process that writes it. Results may lie on a share that other machines write to, so
only what a dead process of this machine left is deleted at once; anything else when it is a day old, which no write
takes. What is older and has another kind of name is from an older harness, and is treated alike.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.store.mark import machine
from harness.store.place import is_local
from harness.store.schemas import LEDGERS, TABLES

_STALE_S = 86_400.0
_MARK = re.compile(r"\.([0-9a-f]{12})-(\d+)$")
# Where there are such files: tables and ledgers, the kept files of nights, and the probe of a run.
_PLACES = (
    *(f"{table}/date=*/target=*/.*.parquet.*" for table in TABLES | LEDGERS),
    "artifacts/.*.*",
    ".probe*",
)


@dataclass(frozen=True)
class Unfinished:
    """What was `deleted`, and what was `left` since its writer may live."""

    deleted: tuple[Path, ...]
    left: tuple[Path, ...]


def delete_unfinished(results: Path) -> Unfinished:
    """Delete what no living process writes. There is nothing of the kind in a bucket."""
    deleted, left = [], []
    for file in _files(results) if is_local(results) and os.path.isdir(results) else ():
        with suppress(OSError):
            if _abandoned(file):
                file.unlink()
                deleted.append(file)
                continue
        if os.path.lexists(file):
            left.append(file)
    return Unfinished(tuple(deleted), tuple(left))


def _files(results: Path) -> Iterator[Path]:
    for place in _PLACES:
        yield from sorted(results.glob(place))


def _abandoned(file: Path) -> bool:
    """Raises OSError."""
    mark = _MARK.search(file.name)
    if mark and mark[1] == machine():
        return not _lives(int(mark[2]))
    return time.time() - file.stat().st_mtime > _STALE_S


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
