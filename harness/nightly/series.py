"""Series: one figure a night of one model, condition, metric and fingerprint: the median of its processes.

`harness compare` gives their mean, with an interval. On a shared machine some processes of a night run beside another
load, on some nights more than on others: the mean follows them, the median does not until they are half.

Where all of a machine is faster on one night than on another, only a model that stayed the same can tell. The reference
of a configuration is measured between the others, and what takes time is then set against it block by block: neighbours
in time have seen the same machine.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.analysis.figures import figure, kind_of
from harness.analysis.grouping import (
    Run,
    different_fields,
    distinct,
    group,
    joined_fingerprints,
    run_records,
)
from harness.conditions.fields import Condition, lasting_facts, without_data
from harness.metrics import Metric
from harness.nightly.nights import RECENT, Night
from harness.statistics.newest import median_variance
from harness.store.dataset import Tables, read_sessions


@dataclass(frozen=True)
class Point:
    """The figure of one night in the metric's unit; `exact` says that every process gave it, and no clock. `relative`
    is the median of its ratios to the reference, block by block; None without a reference. `log_variance` says how
    uncertain the one or the other is, since the processes of the night differ (`median_variance`).
    """

    night: int
    value: float
    processes: int
    exact: bool
    sha256: str | None
    relative: float | None = None
    log_variance: float | None = None


@dataclass(frozen=True)
class Series:
    """`points` in the order of nights. The data of the condition is None for metrics that need none. `kind` says how
    the figures were obtained, and against which reference.
    """

    model: str
    condition: Condition
    metric: Metric
    kind: str
    fingerprint: str
    points: tuple[Point, ...]

    @cached_property
    def series_id(self) -> str:
        """The same on every night and machine."""
        facts = [self.model, lasting_facts(self.condition), self.metric.name, self.kind, self.fingerprint]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def exact(self) -> bool:
        """Whether every figure is a fact, so that two of them differ or do not."""
        return all(point.exact for point in self.points)

    @property
    def levels(self) -> list[float]:
        """Positive numbers whose ratios say how much changed: the figures; of losses their perplexities; against a
        reference, what the figures were if the machine had always been as fast as it was on the average.
        """
        shares = [point.relative for point in self.points if point.relative is not None]
        if len(shares) < len(self.points):
            return [to_level(self.metric, point.value) for point in self.points]
        usual = statistics.geometric_mean(point.value / share for point, share in zip(self.points, shares, strict=True))
        return [share * usual for share in shares]


def to_level(metric: Metric, value: float) -> float:
    """A figure on the scale of ratios."""
    return math.exp(value) if metric.unit == "nats" else value


def from_level(metric: Metric, level: float) -> float:
    """The inverse of `to_level`."""
    return math.log(level) if metric.unit == "nats" else level


def read_series(results: Path, nights: Sequence[Night], metrics: Sequence[Metric]) -> tuple[list[Series], list[str]]:
    """Every series of these nights, and sentences on attempts that cannot be read and on conditions that changed."""
    tables = read_sessions(results, {night.session_id for night in nights if night.session_id is not None})
    series = series_of(tables, nights, metrics)
    return series, [*tables.problems, *_broken(tables, nights), *_missing(series, nights)]


def series_of(tables: Tables, nights: Sequence[Night], metrics: Sequence[Metric]) -> list[Series]:
    """Every series in the rows of these nights. An attempt counts if it succeeded and is of the metric's pass."""
    numbers = {night.session_id: night.number for night in nights}
    runs = [run for run in run_records(tables.runs) if run["session_id"] in numbers and run["status"] == "ok"]
    conditions, joined = group(runs), joined_fingerprints(runs)
    of_night = {night.session_id: night.reference for night in nights}
    points_by_series: dict[tuple[str, Condition, str, str, str], dict[int, Point]] = {}
    for metric in metrics:
        # A figure that is not above zero has no ratio to another.
        values = {
            str(attempt): float(value)
            for attempt, value in metric.per_process(tables).items()
            if math.isfinite(value) and (value > 0 or metric.unit == "nats")
        }
        for condition, members in conditions:
            # Those of other passes are in the conditions of every data set.
            where = condition if metric.measure == "quality" else without_data(condition)
            sessions: dict[tuple[str, str], list[Run]] = {}
            for run in members:
                if run["attempt_id"] in values and run["measure"] == metric.measure and _has_clock(metric, run):
                    sessions.setdefault((run["model"], run["session_id"]), []).append(run)
            references = _references(metric, sessions, values, of_night)
            for (model, session), used in sessions.items():
                if _is_reference(used[0], of_night):
                    continue
                point, kind = _point(metric, numbers[session], used, values, references.get(session))
                fingerprint = "+".join(sorted({joined[each] for each in distinct(used, "fingerprint")}))
                points_by_series.setdefault((model, where, metric.name, kind, fingerprint), {})[point.night] = point
    by_name = {metric.name: metric for metric in metrics}
    return [
        Series(model, where, by_name[name], kind, fingerprint, tuple(points[night] for night in sorted(points)))
        for (model, where, name, kind, fingerprint), points in points_by_series.items()
    ]


def _has_clock(metric: Metric, run: Run) -> bool:
    return not metric.is_time or run["latency_kind"] is not None


def _references(
    metric: Metric,
    sessions: Mapping[tuple[str, str], Sequence[Run]],
    values: Mapping[str, float],
    of_night: Mapping[str | None, str | None],
) -> dict[str, tuple[str, dict[int, float]]]:
    """The sha256 of the reference of each session, with its figure in each block. Only time needs one."""
    return {
        session: (used[0]["model_sha256"], {run["block"]: values[run["attempt_id"]] for run in used})
        for (_, session), used in sessions.items()
        if _is_reference(used[0], of_night) and metric.is_time
    }


def _is_reference(run: Run, of_night: Mapping[str | None, str | None]) -> bool:
    """Whether a run is one of the model that time is set against: of nights from before that was recorded, the one that
    has its sha256 as its name.
    """
    name = of_night.get(run["session_id"]) or run["model_sha256"]
    return bool(run["model"] == name)


def _point(
    metric: Metric,
    night: int,
    runs: Sequence[Run],
    values: Mapping[str, float],
    reference: tuple[str, Mapping[int, float]] | None,
) -> tuple[Point, str]:
    value_by_block = {run["block"]: values[run["attempt_id"]] for run in runs}
    kind = kind_of(metric, runs)
    exact = figure(metric, tuple(value_by_block.values()), kind).exact
    levels = [to_level(metric, value) for value in value_by_block.values()]
    variance = None if exact else median_variance(levels)
    sha256 = runs[0]["model_sha256"]
    point = Point(
        night, statistics.median(value_by_block.values()), len(value_by_block), exact, sha256, log_variance=variance
    )
    if reference is None:
        return point, kind
    sha256_of_reference, theirs = reference
    ratios = [value / theirs[block] for block, value in value_by_block.items() if block in theirs]
    if exact or not ratios:
        return point, kind
    relative = replace(point, relative=statistics.median(ratios), log_variance=median_variance(ratios))
    return relative, f"{kind}, against {sha256_of_reference[:8]}"


def _broken(tables: Tables, nights: Sequence[Night]) -> list[str]:
    """Where the fingerprint or the reference of one of the last nights is not that of the night before."""
    by_session: dict[str, list[Run]] = {}
    for run in run_records(tables.runs):
        if run["status"] == "ok":
            by_session.setdefault(run["session_id"], []).append(run)
    notes, of_night = [], {night.session_id: night.reference for night in nights}
    for first, second in itertools.pairwise(nights[-RECENT:]):
        pair = [by_session.get(str(night.session_id), []) for night in (first, second)]
        measures = {run["measure"] for run in pair[0]} & {run["measure"] for run in pair[1]}
        if different := different_fields(run for runs in pair for run in runs if run["measure"] in measures):
            notes.append(
                f"On night {second.number} the device or its software is another: {'; '.join(different)}. "
                "Series begin anew, and nothing is compared across it."
            )
        references = [{run["model_sha256"] for run in runs if _is_reference(run, of_night)} for runs in pair]
        if all(pair) and references[0] != references[1]:
            notes.append(f"On night {second.number} the reference is another. Series of time begin anew.")
    return notes


def _missing(all_series: Sequence[Series], nights: Sequence[Night]) -> list[str]:
    """What the night before the last has and the last has not, whatever the fingerprint."""
    if len(nights) < 2:
        return []
    before, last = (
        {
            (series.model, series.metric.name)
            for series in all_series
            for point in series.points
            if point.night == night.number
        }
        for night in nights[-2:]
    )
    lost: dict[str, list[str]] = {}
    for model, metric in sorted(before - last):
        lost.setdefault(model, []).append(metric)
    return [
        f"Night {nights[-1].number} has no {', '.join(metrics)} of {model}, unlike night {nights[-2].number}."
        for model, metrics in lost.items()
    ]
