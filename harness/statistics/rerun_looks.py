"""A comparison that is looked at more than once: measured again with more pairs as long as it is undecided.

Whoever measures until an interval excludes 1 will see one that does, sooner or later. So every look has its share of
the one error that the whole comparison may make, and an interval so wide that it is missed no more often than that:
repeated confidence intervals (C. Jennison and B. W. Turnbull, "Interim analyses: the repeated confidence interval
approach", J. R. Stat. Soc. B 51, 1989, doi 10.1111/j.2517-6161.1989.tb01433.x). The shares add up to the whole, so
that by Bonferroni's inequality all intervals of all looks hold at once with the confidence asked, however the looks
depend on one another, and whatever decides that there is a next one.

The looks of one round are at 10, 30 and 70 pairs, all that the round has so far. The first decides most comparisons and
has half of the round's share, the others a quarter each. What is still undecided has another round on another night, of
new pairs. Nobody knows how many rounds there will be: the first has eight tenths of the error, and every further one
half of what is left.
"""

from __future__ import annotations

NEW_PAIRS = (10, 20, 40)
"""How many pairs of new processes each look of a round adds."""
_SHARES = (0.5, 0.25, 0.25)
_FIRST_ROUND = 0.8


def look_confidence(confidence: float, look: int, round_number: int = 1) -> float:
    """The confidence of the interval of a look in a round, both counted from 1, so that all intervals of all rounds
    hold at once with `confidence`. Raises ValueError for a look or a round that there is not.
    """
    if round_number < 1 or not 1 <= look <= len(_SHARES):
        raise ValueError("rounds and looks are counted from 1, and a round has three looks")
    of_round = _FIRST_ROUND if round_number == 1 else (1 - _FIRST_ROUND) * 0.5 ** (round_number - 1)
    return 1 - (1 - confidence) * of_round * _SHARES[look - 1]
