"""What changed in a series, and whether for the worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.metrics import Metric
from harness.nightly.nights import RECENT
from harness.nightly.series import Series, from_level
from harness.statistics.change_points import ChangePoint, change_points
from harness.statistics.newest import FEWEST, HISTORY, newest_change

NEAR = 2
"""Nights by which a change may be placed wrongly, and moves as nights are added."""


@dataclass(frozen=True)
class Change:
    """The level changed at point `index` of `series`, from `before` to `after`, in the metric's unit. `ratio` is after
    over before (of losses: of their perplexities), `p_value` None where figures are exact. `newest`: only the last
    night or the last two show it.
    """

    series: Series
    index: int
    before: float
    after: float
    ratio: float
    p_value: float | None
    newest: bool = False

    @property
    def night(self) -> int:
        """The first of the new level."""
        return self.series.points[self.index].night

    @property
    def regression(self) -> bool:
        """Whether it is for the worse."""
        return worsening(self.series.metric, self.ratio) > 0

    @property
    def recent(self) -> bool:
        """Whether it is news on the last night of the series."""
        return len(self.series.points) - self.index <= RECENT


def worsening(metric: Metric, ratio: float) -> float:
    """By what share a figure of `ratio` times the other is worse: 0.1 for 1.1 times a latency; negative for better."""
    return (ratio if metric.better == "lower" else 1 / ratio) - 1


def changes_of(series: Series, max_p: float, min_change: float) -> list[Change]:
    """The changes of a series from the oldest on: change points, or for exact figures every step of the size asked; and
    last a worsening that the newest nights alone show, which is a reason to measure again.
    """
    levels = series.levels
    points = _steps(series.metric, levels, min_change) if series.exact else change_points(levels, max_p, min_change)
    edges = [*(point.index for point in points), len(levels)]
    changes = []
    for point, stop in zip(points, edges[1:], strict=True):
        # An exact figure is worse than the best before it, which is what the ratio is to.
        after = levels[point.index] if series.exact else _mean(levels[point.index : stop])
        before, after = (from_level(series.metric, level) for level in (after / point.ratio, after))
        changes.append(Change(series, point.index, before, after, point.ratio, None if series.exact else point.p_value))
    return changes if series.exact else [*changes, *_newest(series, changes, min_change)]


def nights_of_level(series: Series, changes: Sequence[Change]) -> int:
    """How many nights there are since the last change point."""
    points = [change.index for change in changes if not change.newest]
    return len(series.points) - (points[-1] if points else 0)


def nights_needed(series: Series) -> int:
    """How many nights of a level a series needs before the next night can be judged."""
    return 1 if series.exact else FEWEST


def _newest(series: Series, changes: Sequence[Change], min_change: float) -> list[Change]:
    count = nights_of_level(series, changes)
    levels = series.levels[-count:]
    worse = levels if series.metric.better == "lower" else [1 / level for level in levels]
    change_point = newest_change(worse, [point.log_variance for point in series.points[-count:]], min_change=min_change)
    if change_point is None:
        return []
    after = _mean(levels[-change_point.nights :])
    ratio = change_point.ratio if series.metric.better == "lower" else 1 / change_point.ratio
    before, after = (from_level(series.metric, level) for level in (after / ratio, after))
    index = len(series.points) - change_point.nights
    return [Change(series, index, before, after, ratio, change_point.p_value, newest=True)]


def current_level(series: Series, changes: Sequence[Change]) -> float:
    """The level of a series on its last night: the mean since its last change, or its last exact figure; a level."""
    levels = series.levels
    return levels[-1] if series.exact else _mean(levels[changes[-1].index if changes else 0 :])


def around(series: Series, night: int) -> tuple[float | None, float, int]:
    """The mean of the ten nights before `night`, None where there are none, that of the newest four from it on, both as
    levels, and how many nights there are from it on.
    """
    count = sum(point.night >= night for point in series.points)
    before = series.levels[:-count][-HISTORY:]
    return _mean(before) if before else None, _mean(series.levels[-min(count, FEWEST) :]), count


def _steps(metric: Metric, levels: Sequence[float], min_change: float) -> list[ChangePoint]:
    """Every step away from the level so far. A better figure is the new level at once, a worse one only when it is an
    alert, so that a slow decline adds up.
    """
    level, steps = levels[0], []
    for index, value in enumerate(levels):
        worse = worsening(metric, value / level)
        if worse >= min_change or 1 / (1 + worse) - 1 >= min_change:
            steps.append(ChangePoint(index, value / level, 0.0))
            level = value
        elif worse < 0:
            level = value
    return steps


def _mean(levels: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, levels)) / len(levels))
