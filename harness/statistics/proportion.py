"""How sure a share is that was counted, such as an accuracy."""

from __future__ import annotations

CONFIDENCE = 0.95


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The ends of the 95 % interval of a share of `count` things that were counted: Wilson's (JASA 22(158), 1927,
    doi 10.1080/01621459.1927.10502953), which is right for shares near 0 and 1 too.
    """
    from scipy.stats import binomtest  # takes half a second to import, and few tables have an accuracy

    interval = binomtest(round(share * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
