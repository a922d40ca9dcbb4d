"""One figure and its interval from a few processes.

The unit of replication is the process, never the iteration: iterations of one process share its memory layout, its
placement and its warm-up, so pooling them understates the error (T. Kalibera and R. Jones, "Quantifying Performance
Changes with Effect Size Confidence Intervals", arXiv 2007.10899). Times are positive and skewed, so the interval is
Student's t on their logarithms.

An interval is given from three processes on. Of two, Student's t has one degree of freedom and multiplies their
standard error by 12.7 at 95 % confidence, by 64 at 99 %: of processes that differ by 5 % the ends of the interval
differ by a factor of 1.9, of those that differ by 30 % by 28, and nobody learns more than from the two values.
Intervals of three and of five real processes were seen to err as rarely as they say. And an interval whose upper end is
more than a hundred times the lower says only that the processes disagree: that is shown in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
FEWEST_PROCESSES = 3
WIDEST = 100.0
"""The most by which the ends of an interval on logarithms may differ, as a factor."""


@dataclass(frozen=True)
class Estimate:
    """A value in its own unit and its confidence interval; `low` and `high` are None where there is none, for want of
    processes or since they disagree.
    """

    value: float
    low: float | None
    high: float | None
    processes: int


def log_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The geometric mean of one positive value a process, with Student's t interval on the logarithms.

    Raises ValueError for an empty sequence and for values that are not positive and finite.
    """
    logs = _logs(values)
    # Logarithms of ratios to the first value: of values that are all the same, the mean is that value to the last bit.
    first, logs = float(values[0]), logs - logs[0]
    centre = float(logs.mean())
    low, high = ends(centre, half_width(logs, confidence))
    return Estimate(
        first * math.exp(centre),
        None if low is None else first * low,
        None if high is None else first * high,
        len(logs),
    )


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The arithmetic mean of one value a process, with Student's t interval: for losses and decibels, which may be
    negative.

    Raises ValueError for an empty sequence and for values that are not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError("one or more finite values are needed")
    centre = float(array.mean())
    half = half_width(array, confidence)
    if half is None:
        return Estimate(centre, None, None, len(array))
    return Estimate(centre, centre - half, centre + half, len(array))


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation within groups, each of which has a mean of its own; None where two degrees of
    freedom are not left.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    freedom = sum(len(group) - 1 for group in arrays)
    if freedom < FEWEST_PROCESSES - 1:
        return None
    return math.sqrt(sum(float(((group - group.mean()) ** 2).sum()) for group in arrays) / freedom)


def half_width(values: np.ndarray, confidence: float) -> float | None:
    """Half the t interval of the mean of `values` (one-dimensional); None for too few."""
    if len(values) < FEWEST_PROCESSES:
        return None
    t = stdtrit(
        len(values) - 1, 0.5 + confidence / 2
    )  # Student's t; scipy.stats has it too, but takes longer to import
    return float(t * values.std(ddof=1) / math.sqrt(len(values)))


def ends(centre: float, half: float | None) -> tuple[float, float] | tuple[None, None]:
    """The interval of what has the logarithm `centre`, from half its width there; none if it would be too wide."""
    if half is None or 2 * half > math.log(WIDEST):
        return None, None
    return math.exp(centre - half), math.exp(centre + half)


def _logs(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError("values must be positive and finite")
    return np.log(array)
