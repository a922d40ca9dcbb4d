"""Which of several models nobody beats in two metrics, and whom the intervals allow to call beaten."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.figures import Figure, Versus
from harness.metrics import Metric

Pair = tuple[float, float]


def beats(rival: Pair, pair: Pair, more: tuple[bool, bool]) -> bool:
    """Whether `rival` is as good as `pair` in both values and better in one.

    `more` says of each value whether more of it is better. Whom nobody beats is on the Pareto front.
    """
    gains = [(other - own) * (1 if better else -1) for other, own, better in zip(rival, pair, more, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def is_no_worse(metric: Metric, figure: Figure, rival: Figure, versus: Versus | None) -> bool:
    """Whether it is certain that `rival` is better than `figure`, or the same; `versus` is the rival against mine.

    They differ as in the tables: what is compared by ratio by its 99 % interval, facts and exact quality by
    value. Figures that were obtained in different ways are not set against each other, and recorded ones against none.
    """
    if figure.estimate is None or rival.estimate is None or figure.kind != rival.kind or figure.kind == "recorded":
        return False
    if figure.exact and rival.exact:
        gain = figure.estimate.value - rival.estimate.value
        return gain >= 0 if metric.better == "lower" else gain <= 0
    return versus is not None and versus.low is not None and versus.low > 1


def staircase(front: Sequence[Pair], more_x: bool, worst: Pair) -> list[Pair]:
    """The corners of the line through `front` (not empty) between what is reached and what is not, out to `worst`.

    `more_x` says whether more of the first value is better. Nobody of the front beats another.
    """
    steps = sorted(set(front), reverse=more_x)
    corners = [(steps[0][0], worst[1])]
    for (x, y), after in zip(steps, [*(x for x, _ in steps[1:]), worst[0]], strict=True):
        corners += [(x, y), (after, y)]
    return corners
