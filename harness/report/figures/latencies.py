"""The latencies of each model: one distribution a process, never a heap of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.grouping import Run, distinct, is_of, run_records
from harness.errors import NothingComparable, UsageError
from harness.metrics import CATALOGUE
from harness.report.figures.panels import Panel
from harness.statistics.early_stopping import fewest_samples
from harness.statistics.summary import Estimate, log_mean, mean

MARKED = (50, 90, 99)
"""Percentiles that are marked and named."""
SHARES: NDArray[np.float64] = np.concatenate([np.arange(0, 99, 0.5), np.linspace(99, 100, 21)])
"""Percentiles at which a distribution is drawn, MARKED among them; finer towards the slow end."""
_USUAL = ("decode", "steady", "batch")
_LEFT_OUT = ("warmup", "first")


@dataclass(frozen=True)
class Latencies:
    """One model: `curves` has the SHARES of each process in ns, [processes, shares], `samples` how many durations they
    are made of, `warm_ups` how many were left out before them. `kind` is measured, emulated or estimated.
    """

    model: str
    kind: str
    curves: NDArray[np.float64]
    samples: tuple[int, ...]
    warm_ups: tuple[int, ...]

    def at(self, share: float) -> NDArray[np.float64]:
        """One of SHARES of each process in ns, [processes]."""
        return self.curves[:, int(np.flatnonzero(np.equal(SHARES, share))[0])]

    def means(self) -> NDArray[np.float64]:
        """Each of SHARES as a mean over the processes in ns, [shares]."""
        return np.array([_mean(values).value for values in self.curves.T])

    def marks(self) -> dict[int, Estimate]:
        """The means at MARKED with their intervals, as in the tables; without those that a process has too few samples
        to tell.
        """
        few = self.too_few()
        return {mark: _mean(self.at(mark)) for mark in MARKED if mark not in few}

    def too_few(self) -> dict[int, int]:
        """Those of MARKED that cannot be shown, and how many samples per process takes for each."""
        taken = {mark: fewest_samples(mark / 100) for mark in MARKED if mark > 50}
        return {mark: samples for mark, samples in taken.items() if min(self.samples) < samples}


def choose_phase(name: str | None, panels: Sequence[Panel]) -> str:
    """The phase called `name`, or the usual one of those that were measured.

    Raises UsageError for a phase that was not measured, NothingComparable where no latency was.
    """
    phases = list(dict.fromkeys(phase for panel in panels for phase in timed_samples(panel)["phase"].unique()))
    there = [phase for phase in phases if phase not in _LEFT_OUT]
    if not there:
        raise NothingComparable("No latency was measured here.", "`harness report` shows what was.")
    if name is not None and name not in there:
        raise UsageError(f"No phase {name!r} was measured here.", f"Choose one of: {', '.join(sorted(there))}.")
    return name or next((phase for phase in _USUAL if phase in there), there[0])


def label_of(phase: str) -> str:
    """What the catalogue calls the latency of a phase."""
    labels = (metric.label.removesuffix(" p50") for metric in CATALOGUE if metric.median_of == phase)
    return next(labels, f"{phase} latency")


def latencies_of(panel: Panel, phase: str) -> tuple[list[Latencies], dict[str, str]]:
    """The distributions of one phase in the order of the panel's models, and why the other models have none."""
    samples = timed_samples(panel)
    wanted = samples[samples["phase"] == phase].groupby("attempt_id", observed=True)["duration_ns"]
    warm_ups = samples[samples["phase"] == "warmup"].groupby("attempt_id", observed=True).size()
    distributions, absent = [], {}
    for model in panel.comparison.models:
        runs = [run for run in timed_runs(panel) if is_of(run, model) and run["attempt_id"] in wanted.groups]
        if not runs:
            absent[model.label] = f"no process of it succeeded with samples of {phase}"
        else:
            durations = [wanted.get_group(run["attempt_id"]).to_numpy() for run in runs]
            distributions.append(
                Latencies(
                    model.label,
                    ", ".join(distinct(runs, "latency_kind")),
                    np.stack([np.percentile(values, SHARES) for values in durations]),
                    tuple(len(values) for values in durations),
                    tuple(int(warm_ups.get(run["attempt_id"], 0)) for run in runs),
                )
            )
    return distributions, absent


def _mean(values: NDArray[np.float64]) -> Estimate:
    return log_mean(values.tolist()) if values.min() > 0 else mean(values.tolist())


def timed_runs(panel: Panel) -> list[Run]:
    """The latency processes that succeeded, of each job the last, on a target that has a latency."""
    jobs = {
        (run["session_id"], run["job_id"]): run
        for run in run_records(panel.tables.runs)
        if run["status"] == "ok" and run["measure"] == "latency" and run["latency_kind"] is not None
    }
    return list(jobs.values())


def timed_samples(panel: Panel) -> pd.DataFrame:
    samples = panel.tables.samples
    return samples[samples["attempt_id"].isin([run["attempt_id"] for run in timed_runs(panel)])]
