"""Two files measured again, interleaved: whether the second is slower, beyond what noise does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.analysis.figures import figure, plural, why_no_interval
from harness.analysis.grouping import run_records
from harness.conditions.fields import Condition
from harness.errors import HarnessError
from harness.metrics import METRICS, Metric
from harness.metrics.metric import Measure
from harness.nightly.detection import worsening
from harness.nightly.series import to_level
from harness.statistics.ratio import RATIO_CONFIDENCE, paired_ratio
from harness.statistics.rerun_looks import NEW_PAIRS, look_confidence
from harness.store.dataset import Tables, read_sessions

Decision = Literal["regression", "no regression", "undecided"]


@dataclass(frozen=True)
class Pair:
    """What to measure again: two stored files, under one condition, in the pass that yields the metric. `names` are
    what they are called in the session of the rerun, the good one's first.
    """

    good: Path
    bad: Path
    names: tuple[str, str]
    condition: Condition
    measure: Measure


Rerun = Callable[[Pair, int], str]
"""Measures a pair in so many interleaved processes each, and gives the session's id. Raises HarnessError where it
cannot.
"""


@dataclass(frozen=True)
class Verdict:
    """The bad file's figure over the good one's, with its interval; all None, with the `reason`, without one.

    `processes` are the pairs that it rests on, of `sessions`, one a look. `decision` is None without an interval,
    `metric` what was compared.
    """

    ratio: float | None
    low: float | None
    high: float | None
    processes: int
    reason: str | None = None
    confidence: float = RATIO_CONFIDENCE
    decision: Decision | None = None
    sessions: tuple[str, ...] = ()
    metric: str | None = None


def settle(
    results: Path,
    measure: Callable[[int, int], str],
    metrics: Sequence[Metric],
    names: tuple[str, str],
    min_change: float,
    *,
    round_number: int = 1,
    new_pairs: Sequence[int] = NEW_PAIRS,
) -> Verdict:
    """Look again with more pairs until the comparison of the models of these `names`, good and bad, is decided, by the
    first of `metrics` that was measured.

    `measure` is given the number of the look, from 0 on, and its new pairs, and gives a session. Where a later look
    cannot be measured, the verdict of those before remains. Raises HarnessError where there is none, and whatever
    `read_verdict` raises.
    """
    sessions: list[str] = []
    verdict: Verdict | None = None
    for look, pairs in enumerate(new_pairs):
        try:
            sessions.append(measure(look, pairs))
        except HarnessError:
            if verdict is None:
                raise
            break
        alone = len(new_pairs) == 1 and round_number == 1
        confidence = RATIO_CONFIDENCE if alone else look_confidence(RATIO_CONFIDENCE, look + 1, round_number)
        for metric in metrics:
            verdict = read_verdict(results, sessions, metric, *names, min_change, confidence)
            if verdict.processes:
                metrics = [metric]
                break
        if verdict is None or verdict.decision != "undecided":
            break
    assert verdict is not None
    return verdict


def read_verdict(
    results: Path,
    sessions: Sequence[str],
    metric: Metric,
    good: str,
    bad: str,
    min_change: float,
    confidence: float = RATIO_CONFIDENCE,
) -> Verdict:
    """What the pairs of these sessions say of the models named `good` and `bad`, together. Raises StoreError."""
    tables = read_sessions(results, sessions)
    verdict = judge(_pairs(tables, metric, good, bad), metric, min_change, confidence)
    if not verdict.processes and metric.too_few is not None:
        verdict = replace(verdict, reason=next(iter(metric.too_few(tables).values()), verdict.reason))
    return replace(verdict, sessions=tuple(sessions))


def judge(
    pairs: Sequence[tuple[float, float]], metric: Metric, min_change: float, confidence: float = RATIO_CONFIDENCE
) -> Verdict:
    """What pairs of figures say, each of the good model and of the bad one in the same block, in the metric's unit."""
    verdict = Verdict(None, None, None, len(pairs), confidence=confidence, metric=metric.name)
    if not pairs:
        return replace(verdict, reason="it was not measured")
    if metric.compare == "difference" and metric.unit != "nats":
        return replace(verdict, reason="differences have no interval")
    before, after = ({n: to_level(metric, pair[which]) for n, pair in enumerate(pairs)} for which in (0, 1))
    if min(*before.values(), *after.values()) <= 0:
        return replace(verdict, reason="a ratio needs values above zero")
    estimate = paired_ratio(after, before, confidence)
    low, high = estimate.low, estimate.high
    if all(figure(metric, values, "measured").exact for values in zip(*pairs, strict=True)):
        low = high = estimate.value  # two facts, of which one pair is enough
    if low is None or high is None:
        return replace(verdict, reason=f"it has no interval ({why_no_interval(low, estimate.pairs)})")
    decision = decide(metric, estimate.value, low, high, min_change)
    return replace(verdict, ratio=estimate.value, low=low, high=high, decision=decision)


def decide(metric: Metric, ratio: float, low: float, high: float, min_change: float) -> Decision:
    """Regression: the interval lies on the bad side of 1, and the figure is worse by `min_change` or more. No
    regression: the whole interval is less worse than that. Undecided otherwise: the figures allow both.
    """
    least, most = sorted((worsening(metric, low), worsening(metric, high)))
    if least > 0 and worsening(metric, ratio) >= min_change:
        return "regression"
    return "no regression" if most < min_change else "undecided"


def words(verdict: Verdict) -> str:
    """The comparison as tables have it, above 1 where the bad model is the better one: `speed-up 0.907x [0.888, 0.925],
    10 pairs`; or why there is none.
    """
    if verdict.ratio is None or verdict.low is None or verdict.high is None:
        return verdict.reason or "no figure"
    metric = METRICS.get(verdict.metric or "")
    value, low, high, word = verdict.ratio, verdict.low, verdict.high, "ratio"
    if metric is not None and metric.compare == "ratio":
        word = metric.comparison_word
        if metric.better == "lower":
            value, low, high = 1 / value, 1 / high, 1 / low
    interval = f" [{low:.3f}, {high:.3f}]" if low != high else ""
    return f"{word} {value:.3f}x{interval}, {plural(verdict.processes, 'pair')}"


def _pairs(tables: Tables, metric: Metric, good: str, bad: str) -> list[tuple[float, float]]:
    """The figures of both models in each block that both have, the oldest block first."""
    values = metric.per_process(tables)
    blocks: dict[tuple[str, int], dict[str, float]] = {}
    for run in run_records(tables.runs):
        value = values.get(run["attempt_id"])
        if run["status"] == "ok" and run["measure"] == metric.measure and value is not None and math.isfinite(value):
            blocks.setdefault((run["session_id"], run["block"]), {})[run["model"]] = float(value)
    return [(block[good], block[bad]) for block in blocks.values() if good in block and bad in block]
