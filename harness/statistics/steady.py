"""When a process is warm: a rule that decides while it runs.

What it is scored against is known only when a process has ended: change points found by PELT (R. Killick, P. Fearnhead
and I. A. Eckley, "Optimal detection of changepoints with a linear computational cost", JASA 107(500), 2012,
doi 10.1080/01621459.2012.737745), then the first segment that is level with the last, as L. Traini and others label
processes ("Towards effective assessment of steady state performance in Java software: are we there yet?", Empirical
Software Engineering 28, 2023, doi 10.1007/s10664-022-10247-x). `tests/bench/warmup.py` does so, and prints the score.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from statistics import median

WINDOW = 180
WINDOW_NS = 200_000_000
# Few slow queries fit below a cap on time: five in each half are the fewest whose median an odd one does not move.
LEAST = 10
MAX_DIFFERENCE = 0.015
# A check afterwards: of fewer queries the median of a quarter says too little.
CHECKED_QUERIES, SLOWER = 100, 0.03


class SteadyRule:
    """Feed it durations; it is `steady` once the medians of both halves of a window differ by at most 1.5 %.

    The window is the last 180 queries, or as many of the fastest as fit 0.2 s where that is fewer, but never fewer than
    ten. Medians of halves, since a decline moves them apart and an interrupt by the kernel does not; no bound on the
    variation, which on a shared machine no amount of warm-up lowers. The window is looked at when it has filled and
    after each quarter of it: who looks at every query stops on luck.
    """

    def __init__(self) -> None:
        self.steady = False
        self._recent: deque[int] = deque(maxlen=WINDOW)
        self._until_look = LEAST

    def add(self, duration_ns: int) -> None:
        """Take in one more duration in nanoseconds."""
        self._recent.append(duration_ns)
        self._until_look -= 1
        if self._until_look:
            return
        # The fastest, since one slow query among the first, as where something is compiled, says nothing of the rest.
        window = min(WINDOW, max(LEAST, WINDOW_NS // max(1, min(self._recent))))
        missing = window - len(self._recent)
        if missing > 0:
            self._until_look = missing
            return
        self._until_look = window // 4
        self.steady = self._level(window)

    def _level(self, window: int) -> bool:
        values, half = list(self._recent), window // 2
        halves = values[len(values) - window :][:half], values[len(values) - half :]
        first, last = (sorted(part)[(half - 1) // 2] for part in halves)
        return abs(first - last) <= MAX_DIFFERENCE * min(first, last)


def still_warming(durations_ns: Sequence[float]) -> bool:
    """Whether the first quarter of what was measured was slower, by its median, than each later quarter by 3 % or more:
    measuring then began too early. Never of fewer than 100 queries.

    Of the 248 processes of `tests/bench/warmup.py` it is raised for 7, of which 6 began too early (the share and the
    number of parts were chosen on these). It does not see most that began too early by less.
    """
    count = len(durations_ns)
    if count < CHECKED_QUERIES:
        return False
    ends = [count * part // 4 for part in range(5)]
    first, *later = (median(durations_ns[begin:end]) for begin, end in itertools.pairwise(ends))
    return first > (1 + SLOWER) * max(later)
