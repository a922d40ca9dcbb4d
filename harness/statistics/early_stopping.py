"""Whether p99 stays within a bound, by MLPerf's rule for runs that are not very long.

The share of late queries of a run is an estimate. The rule asks that it be so low that a system of which one query in
a hundred is late would show it in one run of a hundred at most (binomial, 99 % confidence): a short run must do better
than p99, a long one hardly. It is the early stopping criterion of the MLPerf Inference rules, by which LoadGen decides
its server runs; percentile and confidence are those of V. J. Reddi et al., "MLPerf Inference Benchmark", arXiv
1911.02549.
"""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

PERCENTILE = 0.99
CONFIDENCE = 0.99

FEWEST_QUERIES = 459
"""Of fewer nothing can be said, even if none is late: 0.99 ** 459 is the first below 0.01."""


@overload
def holds(queries: int, late: int) -> bool: ...
@overload
def holds(queries: npt.NDArray[np.int64], late: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]: ...
def holds(queries: int | npt.NDArray[np.int64], late: int | npt.NDArray[np.int64]) -> bool | npt.NDArray[np.bool_]:
    """Whether `late` of `queries` are few enough; arrays element by element."""
    found: npt.NDArray[np.bool_] = np.asarray(bdtr(late, queries, 1 - PERCENTILE) <= 1 - CONFIDENCE)
    return bool(found) if found.ndim == 0 else found


def late_allowed(queries: int) -> int:
    """The most late queries with which `queries` hold; -1 where there are too few of them."""
    late = -1
    while holds(queries, late + 1):
        late += 1
    return late
