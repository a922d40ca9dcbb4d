"""Going on with a session that was cut short: what ended well in it is not run again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from harness.experiment.session import Session
from harness.job import Job


def resume(session: Session, results: Path, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are still to do. `session` becomes the session in `results` in which jobs of most of the models
    ended well, on the same device and in the same versions, the newest of several; it stays as it is, and all jobs are
    to do, where there is none. A baseline that other sessions measured too is no reason to go on with one of them.

    A reference that others deviate from runs again with them: its outputs were not kept. So does the block that was cut
    in the middle: the models of a block are compared as neighbours in time. Raises StoreError.
    """
    from harness.analysis.grouping import options_of  # pandas takes a second to import
    from harness.store.dataset import read_table
    from harness.store.stored_job import stored

    runs = read_table(results, "runs")
    runs = runs[(runs["target"] == session.target.name) & (runs["device"] == session.target.device())]
    good = runs[
        (runs["status"] == "ok")
        & runs["job_id"].isin([job.job_id for job in jobs])
        & runs["fingerprint"].isin(list(session.fingerprints))
    ].sort_values(["started_at", "position"])
    if good.empty:
        return list(jobs)
    models = good.groupby("session_id")["model"].nunique()
    most = good[good["session_id"].map(models) == models.max()]
    session.session_id = str(most["session_id"].iloc[-1])
    session_runs = runs[runs["session_id"] == session.session_id]
    session.position = int(session_runs["position"].max()) + 1
    done = set(good[good["session_id"] == session.session_id]["job_id"])
    condition_of = {job.job_id: (job.measure, options_of(stored(job))) for job in jobs}
    done -= _torn(jobs, done, condition_of)
    session.succeeded = len(done)
    left = [job for job in jobs if job.job_id not in done]
    wanted = {job.reference_sha256 for job in left}
    return [
        job
        for job in jobs
        if job in left or (job.measure == "quality" and job.reference_sha256 and job.model_sha256 in wanted)
    ]


def _torn(jobs: Sequence[Job], done: set[str], condition_of: Mapping[str, Hashable]) -> set[str]:
    """The jobs of `done` whose block was cut in the middle, by condition. More than one unfinished block of a condition
    is no cut: models were added, and take no turns with those before.
    """
    blocks: dict[Hashable, dict[int, list[str]]] = {}
    for job in jobs:
        if job.measure != "quality":
            blocks.setdefault(condition_of[job.job_id], {}).setdefault(job.block, []).append(job.job_id)
    torn: set[str] = set()
    for by_number in blocks.values():
        cut = [ids for ids in by_number.values() if 0 < len(done.intersection(ids)) < len(ids)]
        if len(by_number) > 1 and len(cut) == 1:
            torn |= done.intersection(cut[0])
    return torn
