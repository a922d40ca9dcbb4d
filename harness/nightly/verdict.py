"""Two files measured again, interleaved: whether the second is slower, beyond what noise does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.metrics import Metric
from harness.metrics.metric import Measure
from harness.nightly.detection import worsening
from harness.report.cells import plural
from harness.report.comparison import compare_tables
from harness.report.grouping import Condition
from harness.store.dataset import read_tables


@dataclass(frozen=True)
class Pair:
    """What to measure again: two kept files, under one condition, in the pass that yields the metric."""

    good: Path
    bad: Path
    condition: Condition
    measure: Measure


Rerun = Callable[[Pair], str]
"""Measures a pair, interleaved, and gives the session's id. Raises HarnessError where it cannot."""


@dataclass(frozen=True)
class Verdict:
    """The bad file's figure over the good one's, with its 99 % interval; all None, with the `reason`, without one."""

    ratio: float | None
    low: float | None
    high: float | None
    processes: int
    reason: str | None = None


def read_verdict(results: Path, session: str, metric: Metric, good: str, bad: str) -> Verdict:
    """What a session says of the models named `good` and `bad`, as `harness compare` computes it. Raises StoreError,
    NothingComparable, UsageError.
    """
    tables = read_tables(results, session)
    for comparison in compare_tables(tables, baseline=good, every_metric=not metric.main):
        places = [number for number, model in enumerate(comparison.models) if model.name == bad]
        for row in comparison.rows:
            if row.metric.name != metric.name or not places:
                continue
            versus = row.versus[places[0]]
            if versus is None or versus.value is None:
                figures = (row.figures[0], row.figures[places[0]])
                why = next((figure.reason for figure in figures if figure.reason), None)
                return Verdict(None, None, None, 0, why or (versus.reason if versus else None) or "it has no figure")
            if versus.kind == "difference":
                return Verdict(None, None, None, versus.processes, "differences have no interval")
            if versus.low is None or versus.high is None:
                if versus.reason is not None:  # too few processes, or they disagree
                    return Verdict(None, None, None, versus.processes, f"it has no interval ({versus.reason})")
                edges = (versus.value, versus.value)  # exact on both sides
            else:
                edges = (versus.low, versus.high)
            # A comparison is above 1 where the second model is better; this ratio is of the figures themselves.
            if metric.better == "lower":
                return Verdict(1 / versus.value, 1 / edges[1], 1 / edges[0], versus.processes)
            return Verdict(versus.value, *edges, versus.processes)
    return Verdict(None, None, None, 0, "it was not measured")


def confirmed(verdict: Verdict, metric: Metric, min_change: float) -> bool:
    """Whether the interval lies on the bad side of 1, and the figure is worse by `min_change` or more."""
    if verdict.ratio is None or verdict.low is None or verdict.high is None:
        return False
    sure = min(worsening(metric, verdict.low), worsening(metric, verdict.high)) > 0
    return sure and worsening(metric, verdict.ratio) >= min_change


def words(verdict: Verdict) -> str:
    """`1.103x [1.081, 1.126], 10 processes`, or why there is none."""
    if verdict.ratio is None or verdict.low is None or verdict.high is None:
        return verdict.reason or "no figure"
    interval = f" [{verdict.low:.3f}, {verdict.high:.3f}]" if verdict.low != verdict.high else ""
    return f"{verdict.ratio:.3f}x{interval}, {plural(verdict.processes, 'process')}"
