"""Percentiles of the durations of a process, where it has enough of them to tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from harness.statistics.early_stopping import fewest_samples
from harness.store.dataset import Tables
from harness.store.stored_job import StoredJob, read_job

# Phases with a sample for every whole answer of a language model, whose other phases are parts of one.
_ANSWERS = ("generate", "sustained")
# More than the time it should take, since nobody can know how long the next query takes.
_SPARE = 1.2


@dataclass(frozen=True)
class Percentile:
    """A share (0.99 for p99) of the durations that `rows` gives of each process: its samples, of one phase.

    A median is taken of any number, a higher percentile of `fewest_samples` and more.
    """

    rows: Callable[[Tables], pd.DataFrame]
    share: float

    def __call__(self, tables: Tables) -> pd.Series[float]:
        groups = self.rows(tables).groupby("attempt_id", observed=True)["duration_ns"]
        return groups.quantile(self.share)[groups.size() >= self._fewest]

    def too_few(self, tables: Tables) -> dict[str, str]:
        """Why each process that has too few samples has no value, with the options that give enough; the process with
        the fewest first. An estimate is one sample of something that does not vary: no number of them would help.
        """
        rows = self.rows(tables)
        sizes = rows.groupby("attempt_id", observed=True).size()
        sizes = sizes[(sizes > 0) & (sizes < self._fewest)].sort_values(kind="stable")
        if sizes.empty:
            return {}
        runs = tables.runs.set_index("attempt_id")[["latency_kind", "job_json"]]
        answers = tables.samples[tables.samples["phase"].isin(_ANSWERS)]
        # A dictionary: pandas cannot look up the 129th attempt of a store in an index of none.
        queries = answers.groupby("attempt_id", observed=True).size().to_dict()
        reasons = {}
        for attempt, size in sizes.items():
            if runs["latency_kind"].get(attempt) != "estimated":
                samples = rows[rows["attempt_id"] == attempt]
                job = read_job(runs["job_json"].get(attempt))
                reasons[str(attempt)] = self._reason(samples, int(size), int(queries.get(attempt, size)), job)
        return reasons

    @property
    def _fewest(self) -> int:
        return fewest_samples(self.share) if self.share > 0.5 else 1

    def _reason(self, rows: pd.DataFrame, samples: int, queries: int, job: StoredJob) -> str:
        fewest = self._fewest
        needed = math.ceil(fewest * queries / samples)
        took = float((rows["start_ns"] + rows["duration_ns"]).max() - rows["start_ns"].min()) / 1e9
        seconds = math.ceil(_SPARE * took * fewest / samples)
        options = []
        if needed > (job.min_iterations or 0):
            options.append(f"--min-iterations {needed}")
        if job.max_duration_s is not None and seconds > job.max_duration_s:
            options.append(f"--max-duration {seconds}")
        what = "tokens" if samples > queries else "queries"
        advice = f": `{' '.join(options)}`" if options else ""
        return f"p{100 * self.share:g} takes {fewest} {what} per process, and one had {samples}{advice}"
