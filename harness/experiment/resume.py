"""Going on with a session that was cut short: what ended well in it is not run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.experiment.session import Session
from harness.job import Job


def resume(session: Session, results: Path, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are still to do. `session` becomes the newest session in `results` in which one of `jobs` ended
    well, on the same device and in the same versions; it stays as it is, and all jobs are to do, where there is none.

    A reference that others deviate from runs again with them: its outputs were not kept. Raises StoreError.
    """
    from harness.store.dataset import read_table

    runs = read_table(results, "runs")
    runs = runs[(runs["target"] == session.target.name) & (runs["device"] == session.target.device())]
    good = runs[
        (runs["status"] == "ok")
        & runs["job_id"].isin([job.job_id for job in jobs])
        & runs["fingerprint"].isin(list(session.fingerprints))
    ].sort_values(["started_at", "position"])
    if good.empty:
        return list(jobs)
    session.session_id = str(good["session_id"].iloc[-1])
    session_runs = runs[runs["session_id"] == session.session_id]
    session.position = int(session_runs["position"].max()) + 1
    done = set(good[good["session_id"] == session.session_id]["job_id"])
    session.succeeded = len(done)
    left = [job for job in jobs if job.job_id not in done]
    wanted = {job.reference_sha256 for job in left}
    return [
        job
        for job in jobs
        if job in left or (job.measure == "quality" and job.reference_sha256 and job.model_sha256 in wanted)
    ]
