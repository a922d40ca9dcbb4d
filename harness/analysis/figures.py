"""One figure of one model with its interval, and one model set against the baseline; no figure without how it
was obtained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.grouping import Run, distinct
from harness.metrics import Metric
from harness.statistics.ratio import RATIO_CONFIDENCE, Ratio, block_ratio, unpaired_ratio
from harness.statistics.summary import CONFIDENCE, FEWEST_PROCESSES, WIDEST, Estimate, log_mean, mean

# One process of a model: session and block, which other models of an interleaved session share.
Place = tuple[str, int]


@dataclass(frozen=True)
class Figure:
    """`estimate` is None where there is no figure, and `reason` then says why (None: the row does not concern
    this model).

    `kind` is how it was obtained: measured, emulated, estimated, or recorded (in the manifest, when the model
    was made). `values` has one value a process, in the metric's unit; `exact` says that they are one and the
    same, `no_interval` why there is none, of values that may vary.
    """

    estimate: Estimate | None
    kind: str = "measured"
    reason: str | None = None
    values: tuple[float, ...] = ()
    exact: bool = False
    no_interval: str | None = None


@dataclass(frozen=True)
class Versus:
    """A model against the baseline. `speedup` and `ratio` are above 1, `difference` below 0, where the model
    needs less.

    `low`, `high` and `resolved` (the interval excludes 1) are None without an interval; `reason` then says
    why there is none, or why there is no value; with an interval it says why that is no fair comparison. A fact that is
    the same in every process needs no interval and has no reason. `shows` is the smallest true difference that such an
    interval shows in four of five runs, 0.08 for 8 %.
    """

    kind: Literal["speedup", "ratio", "difference"]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    processes: int = 0
    paired: bool = False
    resolved: bool | None = None
    reason: str | None = None
    shows: float | None = None


def figure(metric: Metric, values: Sequence[float], kind: str, confidence: float = CONFIDENCE) -> Figure:
    """The figure of one model from one value a process (at least one), in the metric's unit.

    Positive quantities that are compared by ratio have a geometric mean and an interval on logarithms.
    Losses, decibels and whatever can be zero or negative have the plain mean and Student's t interval. Equal
    values are exact, without interval.
    """
    values = tuple(values)
    if metric.exactness != "varies" and all(value == values[0] for value in values):
        return Figure(Estimate(values[0], None, None, len(values)), kind, None, values, exact=True)
    positive = metric.compare == "ratio" and min(values) > 0
    estimate = log_mean(values, confidence) if positive else mean(values, confidence)
    why = None if kind == "estimated" else why_no_interval(estimate.low, len(values))
    return Figure(estimate, kind, None, values, no_interval=why)


def missing_interval(figure: Figure) -> str | None:
    """What a table says of a figure where readers would look for an interval. Of one process nobody does, and the notes
    speak of it.
    """
    return f"no interval ({figure.no_interval})" if figure.no_interval and len(figure.values) > 1 else None


def why_no_interval(low: float | None, processes: int) -> str | None:
    """Why a figure or a ratio of so many processes has no interval; None where it has one, from `low` on."""
    if low is not None:
        return None
    if processes < FEWEST_PROCESSES:
        return f"{plural(processes, 'process')}, and it takes {FEWEST_PROCESSES}: `--processes 5`"
    return (
        f"the processes disagree, and its ends would differ by a factor of more than {WIDEST:.0f}: close other "
        "programs, pin with `--cpus 0`, or ask for more `--processes`"
    )


def versus(
    metric: Metric,
    base: Figure,
    other: Figure,
    places: tuple[Sequence[Place], Sequence[Place]],
    interleaved: bool,
    confidence: float = RATIO_CONFIDENCE,
) -> Versus | None:
    """`other` against `base`; None where the metric is not compared or there is nothing to say.

    `places` are the processes that the values of each came from, in order. Processes are set side by side in blocks
    (`harness.statistics.ratio.block_ratio`) where they were interleaved and at least two blocks are shared, and
    independent otherwise.
    """
    if metric.compare is None or base.estimate is None or other.estimate is None:
        return None
    kind = metric.comparison
    if base.kind != other.kind or "recorded" in (base.kind, other.kind):
        return Versus(kind, reason=f"{other.kind} figures are not compared with {base.kind} ones")
    processes = min(len(base.values), len(other.values))
    if kind == "difference":
        reason = None if base.exact and other.exact else "the values differ between processes"
        return Versus(kind, other.estimate.value - base.estimate.value, processes=processes, reason=reason)
    if min(*base.values, *other.values) <= 0:
        return Versus(kind, reason="a ratio needs values above zero")
    if base.exact and other.exact:
        value = base.estimate.value / other.estimate.value
        return Versus(kind, value if metric.better == "lower" else 1 / value, processes=processes)
    first, second = (base, other) if metric.better == "lower" else (other, base)
    order = places if metric.better == "lower" else (places[1], places[0])
    ratio = _ratio(first.values, second.values, order, interleaved, confidence)
    if ratio.low is None:
        return Versus(
            kind,
            ratio.value,
            processes=ratio.pairs,
            paired=ratio.paired,
            reason=why_no_interval(ratio.low, ratio.pairs),
        )
    return Versus(
        kind, ratio.value, ratio.low, ratio.high, ratio.pairs, ratio.paired, ratio.resolved, shows=ratio.shows
    )


def kind_of(metric: Metric, runs: Sequence[Run]) -> str:
    """How the figure that these runs give was obtained: measured, emulated, estimated. A duration is what the target's
    latency is, energy what its source is.
    """
    if metric.is_time:
        return ", ".join(distinct(runs, "latency_kind"))
    estimated = metric.measure == "energy" and any("energy_estimated" in (run["flags"] or ()) for run in runs)
    return "estimated" if estimated else "measured"


def are_interleaved(runs: Sequence[Run]) -> bool:
    """Whether the blocks of each session followed one another, every model having its turn before the next
    block began.
    """
    blocks: dict[str, list[int]] = {}
    for run in sorted(runs, key=lambda run: run["position"]):
        blocks.setdefault(run["session_id"], []).append(run["block"])
    return all(order == sorted(order) for order in blocks.values())


def plural(count: int, word: str) -> str:
    """`1 process`, `2 processes`."""
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count} {word}{ending}"


def _ratio(
    first: Sequence[float],
    second: Sequence[float],
    places: tuple[Sequence[Place], Sequence[Place]],
    interleaved: bool,
    confidence: float,
) -> Ratio:
    """`first / second`."""
    by_place = [dict(zip(where, values, strict=True)) for where, values in zip(places, (first, second), strict=True)]
    shared = sorted(set(by_place[0]) & set(by_place[1]))
    if interleaved and len(shared) >= 2:
        a, b = ({number: values[place] for number, place in enumerate(shared)} for values in by_place)
        return block_ratio(a, b, confidence)
    return unpaired_ratio(first, second, confidence)


def places_of(runs: Mapping[str, Run], attempts: Sequence[str]) -> list[Place]:
    """Where each attempt stood; `runs` by attempt id."""
    return [(runs[attempt]["session_id"], runs[attempt]["block"]) for attempt in attempts]
