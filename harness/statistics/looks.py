"""An interval that was looked at after every block, to see whether it is narrow enough to stop.

Whoever stops when an interval is narrow stops when the spread happens to look small, so the interval misses more often
than it says: t intervals at 99 % from five blocks on miss up to 1.9 % (Y. Chow and H. Robbins, "On the Asymptotic
Theory of Fixed-Width Sequential Confidence Intervals", Annals of Mathematical Statistics 36, 1965, doi
10.1214/aoms/1177700156, are right in the limit of many blocks alone). C. Stein's two stages (16, 1945, doi
10.1214/aoms/1177731088) miss as they should with any number, but take the spread from the first five blocks for good,
and so three times the blocks.

Here each look allows fewer misses: half of those at 99 %. A constant is enough since the looks are at the spread alone.
Of normal noise the mean of the first n blocks is independent of all spreads up to n, and so of whether one stops at n:
the interval misses as often as if n had been fixed, but for a spread that is too small, and that costs most where some
thirty blocks are needed. There 1.0 % of the intervals of ratios miss where 1 % is due, and 0.4 % where five are enough
from the start; so it is with drift, with models of unequal spread, with heavy tails and outliers. The intervals at 95 %
are those of single models, whose own spread decides only where the other's is small: 3 to 5.4 % of them miss
(`python tests/bench/power.py` prints all of this).

It holds for every comparison of a session, whichever was the last to become narrow, and where time ended it. What it
does not cover is to go on because a difference does not show, or to stop because one does.
"""

from __future__ import annotations

from harness.statistics.ratio import RATIO_CONFIDENCE
from harness.statistics.summary import CONFIDENCE

FEWEST_BLOCKS = 5
"""No look before: the spread of fewer blocks says too little."""
MOST_BLOCKS = 100
CONFIDENCE_OF_A_LOOK = {CONFIDENCE: 0.965, RATIO_CONFIDENCE: 0.995}
"""At which confidence to make an interval so that after looks at its width it has the one that it claims."""
