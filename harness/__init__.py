"""harness: what a compressed model really costs on a real device.

    import harness

    result = harness.run(target="x86", models=["baseline.pte", "mine.pte"])
    result.table()

Importing it imports neither torch nor pandas nor pyarrow: they are imported when something needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.errors import (
    DataError,
    HarnessError,
    Interrupted,
    ModelError,
    NothingComparable,
    StoreError,
    UsageError,
    WorkerError,
)

if TYPE_CHECKING:
    from harness.api import Result, RunRequest, compare, load_results, run

__version__ = "0.2.0"
__all__ = [
    "DataError",
    "HarnessError",
    "Interrupted",
    "ModelError",
    "NothingComparable",
    "Result",
    "RunRequest",
    "StoreError",
    "UsageError",
    "WorkerError",
    "compare",
    "load_results",
    "run",
]
_LATE = ("Result", "RunRequest", "compare", "load_results", "run")


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module("harness.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
