"""The sessions of a store, one row each."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from harness.analysis.comparison import left_out
from harness.analysis.grouping import Run, run_records
from harness.report.machine import dump_json
from harness.report.rendering import Format, render_tables
from harness.report.table import simple_table
from harness.store.dataset import Tables, read_runs

_COLUMNS = ("session", "date", "targets", "models", "jobs", "failed")


def list_sessions(tables: Tables) -> list[dict[str, Any]]:
    """One dictionary a session, the newest last."""
    sessions: dict[str, list[Run]] = {}
    for run in run_records(tables.runs):
        sessions.setdefault(run["session_id"], []).append(run)
    return [
        {
            "session": session,
            "date": runs[0]["date"],
            "targets": list(dict.fromkeys(run["target"] for run in runs)),
            "models": list(dict.fromkeys(run["model"] for run in runs)),
            "jobs": len(runs),
            "failed": sum(run["status"] != "ok" for run in runs),
        }
        for session, runs in sessions.items()
    ]


def render_sessions(
    results: Path, fmt: Format = "terminal", *, width: int | None = None, color: bool | None = None
) -> str:
    """The sessions of the store as text. Raises StoreError, and NothingComparable where there is none."""
    tables = read_runs(results)
    sessions = list_sessions(tables)
    if fmt == "json":
        return dump_json("sessions", {"sessions": sessions, "problems": tables.problems})
    rows = [
        {key: ", ".join(value) if isinstance(value, list) else value for key, value in row.items()} for row in sessions
    ]
    if fmt == "csv":
        file = io.StringIO()
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()
    table = simple_table(
        "Sessions", _COLUMNS, [tuple(row[name] for name in _COLUMNS) for row in rows], left_out(tables)
    )
    return render_tables([table], fmt, width=width, color=color)
