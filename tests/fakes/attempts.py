"""One job run by a fake target, and what holds however it went."""

from __future__ import annotations

from typing import Any

from fakes.jobs import make_job
from fakes.processes import alive
from fakes.target import FakeTarget, Script

from harness.errors import WorkerError
from harness.experiment.runner import Attempt, run_job
from harness.job import Files, Job
from harness.store.schemas import TABLES

FILES = Files(model="m.fake")


def attempt(script: Script | FakeTarget, job: Job | None = None, *, timeout_s: float = 20.0, **more: Any) -> Attempt:
    """Run one job and check what holds however it went."""
    target = script if isinstance(script, FakeTarget) else FakeTarget(script)
    made = run_job(
        target, job or make_job(), FILES, session_id="s", position=3, timeout_s=timeout_s, model_bytes=7, **more
    )
    assert set(made.tables) == set(TABLES)
    for name, table in made.tables.items():
        assert table.schema.equals(TABLES[name])
        assert set(table["attempt_id"].to_pylist()) <= {made.attempt_id}
    row = row_of(made)
    assert row["status"] == made.status
    assert (row["error_kind"] is None) == (row["error_message"] is None) == (made.status == "ok")
    assert row["finished_at"] >= row["started_at"]
    for process in target.processes:
        assert not alive(process._process.pid)
    return made


def row_of(made: Attempt) -> dict[str, Any]:
    """The one row of `runs`."""
    (row,) = made.tables["runs"].to_pylist()
    return row


def failed(script: Script | FakeTarget, kind: str, **more: Any) -> dict[str, Any]:
    """The row of a job that must fail with that kind."""
    made = attempt(script, **more)
    assert made.status == "failed"
    assert isinstance(made.error, WorkerError)
    assert made.error.kind == kind
    assert made.error.message.endswith(".")
    assert made.error.hint
    row = row_of(made)
    assert row["error_kind"] == kind
    assert row["error_message"] == str(made.error)
    return row
