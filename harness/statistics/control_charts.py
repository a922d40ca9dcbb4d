"""Two older ways to watch a series, to set change points against: a threshold on the night before, and CUSUM.

Both go from the oldest night to the newest and say at which nights they would have raised an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Tabular CUSUM as in D. C. Montgomery, "Introduction to Statistical Quality Control": half a standard deviation of
# slack and an alarm at five, which a steady series of normal noise reaches once in 465 nights.
_SLACK, _LIMIT = 0.5, 5.0
# Nights that the level and its noise are estimated from, after the beginning and after every alarm.
_LEARNED = 20


def threshold(values: Sequence[float] | npt.NDArray[np.float64], change: float = 0.1) -> list[int]:
    """Nights at which positive `values` [nights] differ from the night before by more than the share `change`."""
    series = np.asarray(values, dtype=np.float64)
    ratio = series[1:] / series[:-1]
    return [int(index) + 1 for index in np.flatnonzero(np.maximum(ratio, 1 / ratio) > 1 + change)]


def cusum(values: Sequence[float] | npt.NDArray[np.float64]) -> list[int]:
    """Nights at which the cumulated deviation of positive `values` [nights], on their logarithms, passes the limit.

    E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), doi 10.1093/biomet/41.1-2.100. The level is
    learned anew after each alarm; nights of learning raise none.
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    alarms: list[int] = []
    start = 0
    while start + _LEARNED < len(logs):
        learned = logs[start : start + _LEARNED]
        deviation = float(learned.std(ddof=1)) or 1e-12
        up = down = 0.0
        for index in range(start + _LEARNED, len(logs)):
            z = (float(logs[index]) - float(learned.mean())) / deviation
            up, down = max(0.0, up + z - _SLACK), max(0.0, down - z - _SLACK)
            if max(up, down) > _LIMIT:
                alarms.append(index)
                start = index
                break
        else:
            break
    return alarms
