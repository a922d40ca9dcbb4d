"""Whether the newest nights alone are worse than the nights before, of which there are few.

Change points need three nights on either side of a change (`harness.statistics.change_points`). This test speaks on the
night itself. It may be wrong more often, for what it says is only a reason to measure again.

It is the t test of a new observation against a sample: the mean of m new nights differs from that of k earlier ones by
more than t · s · sqrt(1/m + 1/k), on logarithms (a prediction interval; G. J. Hahn and W. Q. Meeker, "Statistical
Intervals", doi 10.1002/9780470316771, chapter 4). s is the larger of two figures: how much the earlier nights differ,
which of four nights is often too small by chance, and how much the median of a night varies since its processes do,
which every night tells anew. The second is taken from the median absolute deviation: one disturbed process of five
doubles a standard deviation, and hardly touches the median of the night.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

HISTORY = 10
"""The most earlier nights that are looked at."""
FEWEST = 4
"""The fewest earlier nights that tell how nights differ."""
MAX_P = 0.05
# A third night is for change points, which see it better.
_NEW = (1, 2)
# Of normal values: what the median absolute deviation must be multiplied by to give the standard deviation, and by what
# factor the variance of a median is greater than that of a mean.
_MAD, _MEDIAN = 1.4826, math.pi / 2


@dataclass(frozen=True)
class Newest:
    """The last `nights` are worse, by `ratio`: their geometric mean over that of the nights before. `p_value` is that
    of the one-sided t test.
    """

    nights: int
    ratio: float
    p_value: float


def newest_change(
    values: Sequence[float], variances: Sequence[float | None], max_p: float = MAX_P, min_change: float = 0.03
) -> Newest | None:
    """The change on the last night or the last two; None where there is none, or where there are fewer than four nights
    before.

    `values` [nights] are positive figures of one level from the oldest on, of which more is worse; `variances` [nights]
    are those of their logarithms within the night (`median_variance`), None where a night cannot tell. Every new night
    is worse than the last ten before, and their mean is worse than theirs by the share `min_change`. Raises ValueError
    for figures that are not positive.
    """
    series = np.asarray(values, dtype=np.float64)
    if not np.all(series > 0) or not np.all(np.isfinite(series)):
        raise ValueError("a series of positive numbers")
    logs = np.log(series)
    for nights in _NEW:
        before, new = logs[:-nights][-HISTORY:], logs[-nights:]
        if len(before) < FEWEST:
            return None
        difference = float(new.mean() - before.mean())
        if new.min() <= before.max() or difference < math.log1p(min_change):
            continue
        earlier, latest = list(variances[:-nights])[-HISTORY:], variances[-nights:]
        variance = max(float(before.var(ddof=1)), _mean(earlier), _mean(latest))
        p_value = _p_value(difference, variance, len(before), nights)
        if p_value <= max_p:
            return Newest(nights, math.exp(difference), p_value)
    return None


def median_variance(values: Sequence[float]) -> float | None:
    """The variance of the logarithm of a night's figure, the median of one positive value a process; None of one."""
    if len(values) < 2:
        return None
    logs: npt.NDArray[np.float64] = np.log(np.asarray(values, dtype=np.float64))
    deviation = _MAD * float(np.median(np.abs(logs - np.median(logs))))
    return deviation**2 * _MEDIAN / (len(logs) - 1)  # of n values it is too small by about (n - 1) / n


def _mean(variances: Sequence[float | None]) -> float:
    known = [variance for variance in variances if variance is not None]
    return sum(known) / len(known) if known else 0.0


def _p_value(difference: float, variance: float, before: int, new: int) -> float:
    error = math.sqrt(variance * (1 / new + 1 / before))
    return float(stdtr(before - 1, -difference / error)) if error > 1e-12 else 0.0
