"""Attempts as a session writes them, small ones."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.store.schemas import RUNS, TABLES
from harness.store.writer import write_attempt

WRITERS = Path(__file__).with_name("writers.py")
DATE, TARGET = "2026-11-21", "x86"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def attempt(
    attempt_id: str, samples: int = 3, session: str = "s1", minute: int = 0, **columns: Any
) -> dict[str, pa.Table]:
    """The tables of one attempt; `model_bytes` says how many samples belong to it."""
    row = {
        "attempt_id": attempt_id,
        "session_id": session,
        "position": 0,
        "started_at": START + timedelta(minutes=minute),
        "status": "ok",
        "flags": ["not_pinned"],
        "model_bytes": samples,
        **columns,
    }
    sample_rows = [
        {"attempt_id": attempt_id, "phase": "steady", "iteration": i, "start_ns": 10 * i, "duration_ns": 5 + i}
        for i in range(samples)
    ]
    scalar = {"attempt_id": attempt_id, "name": "queries", "value": None, "reason": "why"}
    return {
        "runs": pa.Table.from_pylist([row], RUNS),
        "samples": pa.Table.from_pylist(sample_rows, TABLES["samples"]),
        "scalars": pa.Table.from_pylist([scalar], TABLES["scalars"]),
        "ops": TABLES["ops"].empty_table(),
    }


def write(results: Path, attempt_id: str, **more: Any) -> None:
    write_attempt(results, DATE, TARGET, attempt(attempt_id, **more))


def files(results: Path) -> set[str]:
    """Every file below the folder, hidden ones too."""
    return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def in_a_process(*arguments: str | Path) -> str:
    """What `writers.py` printed."""
    done = subprocess.run([sys.executable, WRITERS, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
