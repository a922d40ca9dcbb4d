"""How much the processes of earlier sessions differed, for what a run is about to measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.analysis.grouping import Run, lasting, options_of, run_records
from harness.job import Job
from harness.metrics import HEADLINES
from harness.statistics.summary import pooled_deviation
from harness.store.dataset import read_runs, read_sessions
from harness.store.stored_job import read_job, stored

# The newest of them: a machine of a year ago was another.
_SESSIONS = 10


@dataclass(frozen=True)
class Spread:
    """The standard deviation of the logarithm of a ratio of two processes, one of each model, from so many
    `processes`.
    """

    deviation: float
    processes: int


@dataclass(frozen=True)
class Noise:
    """Runs of a device with the logarithm of the main time of each latency process, by attempt."""

    runs: list[Run]
    logs: Mapping[str, float]

    def between(self, base: Job, other: Job) -> Spread | None:
        """How much the ratio of two models varies: block by block where sessions have both, else as two processes that
        share nothing; None where one of them was not measured so before, in two processes of a session or more.
        """
        first, second = self._by_session(base), self._by_session(other)
        pairs = [
            [base_logs[block] - other_logs[block] for block in base_logs if block in other_logs]
            for session, base_logs in first.items()
            if (other_logs := second.get(session))
        ]
        deviation = pooled_deviation(pairs)
        if deviation is not None:
            return Spread(deviation, 2 * sum(map(len, pairs)))
        each = [
            pooled_deviation([list(blocks.values()) for blocks in by_session.values()])
            for by_session in (first, second)
        ]
        if each[0] is None or each[1] is None:
            return None
        count = sum(len(blocks) for by_session in (first, second) for blocks in by_session.values())
        return Spread(float(np.hypot(each[0], each[1])), count)

    def lasts_s(self, jobs: Sequence[Job]) -> float | None:
        """Seconds that such jobs take, by the medians of earlier processes of the same model and pass; None where one
        of them is new.
        """
        took: dict[tuple[str, str, str], list[float]] = {}
        for run in self.runs:
            seconds = (run["finished_at"] - run["started_at"]).total_seconds()
            took.setdefault(_request(run), []).append(seconds)
        wanted = [(job.model, job.measure, options_of(stored(job))) for job in jobs]
        if not all(key in took for key in wanted):
            return None
        return float(sum(np.median(took[key]) for key in wanted))

    def _by_session(self, job: Job) -> dict[str, dict[int, float]]:
        asked, logs_by_session = lasting(options_of(stored(job))), dict[str, dict[int, float]]()
        for run in self.runs:
            alike = run["model"] == job.model and run["measure"] == "latency"
            alike = alike and lasting(options_of(read_job(run["job_json"]))) == asked
            if alike and run["attempt_id"] in self.logs:
                logs_by_session.setdefault(run["session_id"], {})[run["block"]] = self.logs[run["attempt_id"]]
        return logs_by_session


def read_noise(results: Path, target: str, device: str, models: Sequence[str]) -> Noise:
    """What the newest sessions of these models on this device tell. Raises NothingComparable where there are no
    results.
    """
    runs = read_runs(results).runs
    earlier_runs = runs[
        (runs["target"] == target)
        & (runs["device"] == device)
        & runs["model"].isin(list(models))
        & (runs["status"] == "ok")
    ].sort_values("started_at")
    newest = list(dict.fromkeys(earlier_runs["session_id"].iloc[::-1]))[:_SESSIONS]
    tables = read_sessions(results, newest)
    logs: dict[str, float] = {}
    for metric in reversed([metric for metric in HEADLINES if metric.is_time]):  # the first that a process has stays
        values = metric.per_process(tables)
        logs |= {str(attempt): math.log(value) for attempt, value in values.items() if value > 0}
    return Noise(run_records(earlier_runs[earlier_runs["session_id"].isin(newest)]), logs)


def _request(run: Run) -> tuple[str, str, str]:
    return run["model"], run["measure"], options_of(read_job(run["job_json"]))
