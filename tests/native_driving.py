"""Running a job on a target to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.job import Files, Job
from harness.manifest import sha256_file
from harness.protocol import Event, Samples, Scalar, decode
from harness.target import Target

QUICK: dict[str, Any] = {"min_iterations": 3, "min_duration_s": 0.0, "max_warmup_s": 0.0, "batch": 4}


def job_of(target: Target, path: Path, scenario: str = "single-stream", measure: str = "latency", **fields: Any) -> Job:
    """A job that is quickly done."""
    quick = QUICK | ({"batch": 1, "prompt_tokens": 3, "new_tokens": 3} if scenario == "generate" else {})
    sha256 = sha256_file(path) if path.exists() else "0" * 64
    return Job(
        target=target.name,
        model=path.stem,
        model_sha256=sha256,
        scenario=scenario,
        measure=measure,
        **(quick | fields),
    )


def events_of(target: Target, job: Job, path: Path, **files: str) -> list[Event]:
    """Every event of the job's worker."""
    process = target.launch(job, Files(model=str(path), **files))
    try:
        return [decode(line) for line in process.lines(300.0)]
    finally:
        process.close()


def samples_of(events: list[Event]) -> dict[str, Samples]:
    return {event.phase: event for event in events if isinstance(event, Samples)}


def scalars_of(events: list[Event]) -> dict[str, float | None]:
    return {event.name: event.value for event in events if isinstance(event, Scalar) and event.phase is None}
