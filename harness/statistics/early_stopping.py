"""Whether p99 stays within a bound, and from how many queries on a percentile can be taken, by MLPerf's rule for runs
that are not very long.

The share of late queries of a run is an estimate. The rule asks that it be so low that a system of which one query in
a hundred is late would show it in one run of a hundred at most (binomial, 99 % confidence): a short run must do better
than p99, a long one hardly. It is the early stopping criterion of the MLPerf Inference rules, by which LoadGen decides
its server runs; percentile and confidence are those of V. J. Reddi et al., "MLPerf Inference Benchmark", arXiv
1911.02549.

A percentile of too few samples is nearly their slowest, and errs the same way in every process: no interval over
processes shows it. It is taken from as many samples as leave room for one late one under the same rule, MLPerf's own
minimum for an estimate: then two samples or more lie beyond the true percentile, with 99 % confidence. (Samples are
taken as independent. Tokens of one answer are not quite, so that their number is the least that can be asked.)
"""

from __future__ import annotations

from functools import cache
from typing import overload

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

PERCENTILE = 0.99
CONFIDENCE = 0.99

FEWEST_QUERIES = 459
"""Of fewer nothing is known, even if none is late: 0.99 ** 459 is the first below 0.01."""


@overload
def holds(queries: int, late: int, percentile: float = ...) -> bool: ...
@overload
def holds(
    queries: npt.NDArray[np.int64], late: npt.NDArray[np.int64], percentile: float = ...
) -> npt.NDArray[np.bool_]: ...
def holds(
    queries: int | npt.NDArray[np.int64], late: int | npt.NDArray[np.int64], percentile: float = PERCENTILE
) -> bool | npt.NDArray[np.bool_]:
    """Whether `late` of `queries` are few enough; arrays element by element."""
    few_enough: npt.NDArray[np.bool_] = np.asarray(bdtr(late, queries, 1 - percentile) <= 1 - CONFIDENCE)
    return bool(few_enough) if few_enough.ndim == 0 else few_enough


def late_allowed(queries: int) -> int:
    """The most late queries with which `queries` hold; -1 where there are too few of them."""
    late = -1
    while holds(queries, late + 1):
        late += 1
    return late


@cache
def fewest_samples(percentile: float) -> int:
    """Of how many samples on a percentile (0.99 for p99) can be taken: 64 for p90, 662 for p99, 6636 for p99.9.

    Of a median 11; but that of fewer is as likely too high as too low, so that processes differ and the interval over
    them says it. A median is therefore shown of any number, and a table says where there were fewer.
    """
    low, high = 1, 2  # of one sample nothing can be taken, and of ever more in the end something
    while not holds(high, 1, percentile):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle, 1, percentile) else (middle, high)
    return high
