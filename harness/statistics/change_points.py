"""Where a series of nights changed its level: E-divisive with a t-test, merged from the bottom up.

Splits are found as in D. S. Matteson and N. A. James, "A nonparametric approach for multiple change point analysis of
multivariate data" (arXiv 1306.4933): the best one is where the energy distance between what lies before and after is
greatest, and each half is split again. What is kept is decided as in M. Fleming et al., "Hunter: using change point
detection to hunt for performance regressions" (doi 10.1145/3578244.3583719): by Student's t between neighbouring
segments instead of permutations, which is exact for few nights and the same at every call; splits are taken generously
first, since one change may hide another, and then the weakest is given up again and again, until all that are left
are significant and large.

Works on logarithms: a change is a ratio, and so is what noise does to a latency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEGMENT = 3
"""The fewest nights between two changes: of one or two nobody knows the noise."""
# Nights that one search looks at: a level left long ago says nothing about tonight.
_WINDOW = 50
# How much more generous than `max_p` the first pass is.
_WEAK = 100.0


@dataclass(frozen=True)
class ChangePoint:
    """The level changed at night `index`, the first of the new one. `ratio` is after over before, of geometric means;
    `p_value` that of the t-test between the two segments.
    """

    index: int
    ratio: float
    p_value: float


def change_points(
    values: Sequence[float] | Floats, max_p: float = 1e-4, min_change: float = 0.03, segment: int = SEGMENT
) -> list[ChangePoint]:
    """The changes in `values` [nights], positive figures of one series from the oldest on, in their order.

    Each has a p-value of at most `max_p`, changes the level by at least the share `min_change`, and lies `segment`
    nights or more from its neighbours and from both ends. Raises ValueError for figures that are not positive.
    """
    series = np.asarray(values, dtype=np.float64)
    if not np.all(series > 0) or not np.all(np.isfinite(series)):
        raise ValueError("a series of positive numbers")
    if segment < 2:
        raise ValueError("segments of at least 2 nights")
    logs = np.log(series)
    return _merge(logs, _splits(logs, min(1.0, max_p * _WEAK), segment), max_p, min_change)


def _splits(logs: Floats, max_p: float, segment: int) -> list[int]:
    """Candidates of every window; windows overlap by half, so that each change is far from the edge of one."""
    candidates: set[int] = set()
    step = _WINDOW // 2
    for start in range(0, max(1, len(logs) - step), step):
        candidates.update(start + index for index in _divide(logs[start : start + _WINDOW], max_p, segment))
    splits: list[int] = []
    for index in sorted(candidates):  # two windows may place one change a night apart
        if not splits or index - splits[-1] >= segment:
            splits.append(index)
    return splits


def _divide(logs: Floats, max_p: float, segment: int) -> list[int]:
    """The best split, and those of both sides, as long as they are significant."""
    index = best_split(logs, segment)
    if index is None or _p_value(logs[:index], logs[index:]) > max_p:
        return []
    before, after = _divide(logs[:index], max_p, segment), _divide(logs[index:], max_p, segment)
    return [*before, index, *(index + further for further in after)]


def best_split(values: Floats, segment: int) -> int | None:
    """The first index of the right side of the split with the greatest energy distance; None for too few values.

    q = nm / (n + m) * (2 mean |x - y| - mean |x - x'| - mean |y - y'|) over values x left and y right of it.
    """
    count = len(values)
    if count < 2 * segment:
        return None
    distance = np.abs(values[:, None] - values[None, :])
    # Sums over the square of the first n values, and over that of the last m, for every split at once.
    left = np.cumsum(np.cumsum(distance, axis=0), axis=1).diagonal()
    total = left[-1]
    right = np.cumsum(np.cumsum(distance[::-1, ::-1], axis=0), axis=1).diagonal()[::-1]
    at = np.arange(segment, count - segment + 1)
    n, m = at.astype(np.float64), (count - at).astype(np.float64)
    within_left, within_right = left[at - 1], right[at]
    between = (total - within_left - within_right) / 2
    energy = 2 * between / (n * m) - within_left / (n * (n - 1)) - within_right / (m * (m - 1))
    return int(at[np.argmax(n * m / (n + m) * energy)])


def _merge(logs: Floats, splits: Sequence[int], max_p: float, min_change: float) -> list[ChangePoint]:
    """Give up the weakest split and look again at its neighbours, until every one holds."""
    remaining = list(splits)
    while remaining:
        edges = [0, *remaining, len(logs)]
        points = [
            _point(logs, *edges[number : number + 3])  # the segments before and after this split
            for number in range(len(remaining))
        ]
        failing = [point for point in points if point.p_value > max_p or _change(point) < min_change]
        if not failing:
            return points
        remaining.remove(max(failing, key=lambda point: (point.p_value, -_change(point))).index)
    return []


def _point(logs: Floats, start: int, index: int, end: int) -> ChangePoint:
    before, after = logs[start:index], logs[index:end]
    return ChangePoint(index, math.exp(float(after.mean() - before.mean())), _p_value(before, after))


def _change(point: ChangePoint) -> float:
    """How far the ratio is from 1, the same for a change and for its reverse: 0.1 for 1.1 and for 1 / 1.1."""
    return max(point.ratio, 1 / point.ratio) - 1


def _p_value(before: Floats, after: Floats) -> float:
    """Of Student's two-sided t-test with one variance: with three nights a segment has none of its own to speak of."""
    from scipy.special import stdtr

    freedom = len(before) + len(after) - 2
    spread = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
    difference = abs(float(after.mean() - before.mean()))
    if spread <= (1e-12 * freedom) ** 2:  # figures that repeat exactly, such as bytes and instructions
        return 1.0 if difference <= 1e-12 else 0.0
    error = math.sqrt(spread / freedom * (1 / len(before) + 1 / len(after)))
    return float(2 * stdtr(freedom, -difference / error))
