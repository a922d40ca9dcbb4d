"""How many times one model is faster than another, and whether that is more than noise.

Student's t on the logarithm of one value a process. Where the processes ran in interleaved blocks the difference is
taken block by block, so that slow drift of the machine cancels, unless few blocks show none (`block_ratio`). Pooling
all iterations instead raises 45 % false alarms where 5 % are due (this project's own measurement).

A ratio is a claim, and a table makes a dozen of them at once: at 95 % confidence every second table would contain a
false one. So its interval has 99 %. One model against itself, five processes each, on a noisy virtual machine (200
pairs of processes): of all runs of five pairs 4.6 % were "resolved" at 95 %, 1.5 % at 99 %.

A ratio also says what it could have shown: the smallest true difference that an interval of that confidence, from so
many processes with the spread that these have, tells from none in four of five runs (`POWER`). With a standard error s
and f degrees of freedom that is (t(f, confidence) + t(f, power)) * s on logarithms, which has the estimated spread on
both sides where the noncentral t has the true one (J. Cohen, "Statistical Power Analysis for the Behavioral Sciences").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from harness.statistics.summary import FEWEST_PROCESSES, ends

RATIO_CONFIDENCE = 0.99
POWER = 0.8
# From so many blocks on pairing costs little: t is 3.25 for 2.88 at 99 %, where of five blocks it is 4.60 for 3.36.
_ALWAYS_PAIRED = 10
# What von Neumann's ratio is on average where the order of the blocks means nothing.
_NO_ORDER = 2.0


@dataclass(frozen=True)
class Ratio:
    """`base / other`: above 1 the other has the smaller value. The interval is None where there are too few
    processes, or they disagree (`harness.statistics.summary`). `shows` is the smallest true difference that such an
    interval shows in four of five runs, 0.08 for 8 %; None without one.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int
    paired: bool
    shows: float | None = None

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes 1; an unresolved ratio is reported as `n.s.`."""
        return self.low is not None and self.high is not None and not self.low <= 1.0 <= self.high


def block_ratio(base: Mapping[int, float], other: Mapping[int, float], confidence: float = RATIO_CONFIDENCE) -> Ratio:
    """The ratio over the interleaved blocks that both have, at least one, in their order: by pairs, or, of three to
    nine blocks that show no drift, by Welch's interval, which is then narrower.

    No drift is: the sums log base + log other of neighbouring blocks differ as much as those of any two, which is von
    Neumann's ratio of 2 or more (Annals of Mathematical Statistics 12, 1941, doi 10.1214/aoms/1177731677). Neither
    interval is looked at, so the choice cannot prefer the one that speaks: of normal noise alike in both models sums
    and differences are independent, and the ratio of the sums is independent of their spread too (D. Basu, "On
    Statistics Independent of a Complete Sufficient Statistic", Sankhya 15, 1955). Where a shared drift is overlooked,
    or blocks are unlike without an order, Welch's interval is wider than it need be, not narrower.

    `python tests/bench/power.py` has its coverage and power. At five blocks it finds more where nothing is shared, as
    much under drift, and less where a block is slow for both models and the next is not.
    """
    blocks = sorted(set(base) & set(other))
    if FEWEST_PROCESSES <= len(blocks) < _ALWAYS_PAIRED:
        a, b = ([values[block] for block in blocks] for values in (base, other))
        if von_neumann(_log(a) + _log(b)) >= _NO_ORDER:
            return unpaired_ratio(a, b, confidence)
    return paired_ratio(base, other, confidence)


def von_neumann(values: np.ndarray) -> float:
    """The squared differences of neighbours over the squared deviations from the mean: 2 on average where the order
    means nothing, less under a drift, 0 of values that are the same but for rounding.
    """
    deviations = float(((values - values.mean()) ** 2).sum())
    return float((np.diff(values) ** 2).sum()) / deviations if deviations > 1e-24 else 0.0


def paired_ratio(base: Mapping[int, float], other: Mapping[int, float], confidence: float = RATIO_CONFIDENCE) -> Ratio:
    """The ratio over the blocks that both have; keys are block numbers, values positive.

    Raises ValueError if no block is shared or a value is not positive.
    """
    blocks = sorted(set(base) & set(other))
    if not blocks:
        raise ValueError("no shared block")
    differences = _log([base[block] for block in blocks]) - _log([other[block] for block in blocks])
    pairs = len(blocks)
    if pairs < FEWEST_PROCESSES:
        return Ratio(math.exp(differences.mean()), None, None, pairs, True)
    error = float(differences.std(ddof=1)) / math.sqrt(pairs)
    return _ratio(float(differences.mean()), error, pairs - 1, confidence, pairs, paired=True)


def unpaired_ratio(base: Sequence[float], other: Sequence[float], confidence: float = RATIO_CONFIDENCE) -> Ratio:
    """The ratio of geometric means of independent processes, with Welch's t interval (Biometrika 34, 1947,
    doi 10.1093/biomet/34.1-2.28). Raises ValueError if either is empty or a value is not positive.
    """
    a, b = _log(base), _log(other)
    if not len(a) or not len(b):
        raise ValueError("no values")
    difference = float(a.mean() - b.mean())
    pairs = min(len(a), len(b))
    if pairs < FEWEST_PROCESSES:
        return Ratio(math.exp(difference), None, None, pairs, False)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0.0:
        return _ratio(difference, 0.0, pairs, confidence, pairs, paired=False)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return _ratio(difference, math.sqrt(va + vb), freedom, confidence, pairs, paired=False)


def smallest_shown(error: float, freedom: float, confidence: float = RATIO_CONFIDENCE) -> float:
    """The smallest true difference, 0.08 for 8 %, that an interval of a ratio shows with the power `POWER`, where the
    logarithm of the ratio has the standard `error` with so many degrees of `freedom`.
    """
    # Student's t; scipy.stats has it too, but takes longer to import
    return math.expm1(float(stdtrit(freedom, 0.5 + confidence / 2) + stdtrit(freedom, POWER)) * error)


def _ratio(centre: float, error: float, freedom: float, confidence: float, pairs: int, *, paired: bool) -> Ratio:
    low, high = ends(centre, float(stdtrit(freedom, 0.5 + confidence / 2)) * error)
    shows = None if low is None else smallest_shown(error, freedom, confidence)
    return Ratio(math.exp(centre), low, high, pairs, paired, shows)


def _log(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError("values must be positive and finite")
    return np.log(array)
