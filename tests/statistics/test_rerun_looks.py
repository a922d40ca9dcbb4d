"""Looking again until a comparison is decided: the intervals of all looks hold at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit

from harness.statistics.rerun_looks import NEW_PAIRS, look_confidence

CONFIDENCE = 0.99


def test_the_shares_of_all_looks_of_all_rounds_add_up_to_the_whole_error() -> None:
    spent = [
        1 - look_confidence(CONFIDENCE, look, round_number)
        for round_number in range(1, 40)
        for look in range(1, len(NEW_PAIRS) + 1)
    ]
    assert sum(spent) == pytest.approx(1 - CONFIDENCE)
    assert min(spent) > 0


@pytest.mark.parametrize(("look", "round_number"), [(0, 1), (4, 1), (1, 0)])
def test_a_look_that_there_is_not_is_refused(look: int, round_number: int) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        look_confidence(CONFIDENCE, look, round_number)


@pytest.mark.parametrize("effect", [0.0, 0.03, 0.05])
@pytest.mark.parametrize("tails", [None, 4], ids=["normal", "heavy tails"])
def test_the_interval_at_which_a_round_stops_covers_the_truth(effect: float, tails: int | None) -> None:
    """Of 10,000 comparisons, whatever made them stop; `python tests/bench/nights.py` has more."""
    random = np.random.default_rng(2)
    pairs, count = sum(NEW_PAIRS), 10_000
    noise = (
        random.standard_normal((count, pairs)) if tails is None else random.standard_t(tails, (count, pairs)) / 2**0.5
    )
    values = np.log1p(effect) + 0.06 * noise
    covered, open_ = np.zeros(count, bool), np.ones(count, bool)
    for look, size in enumerate(np.cumsum(NEW_PAIRS), 1):
        seen = values[:, :size]
        quantile = stdtrit(size - 1, 0.5 + look_confidence(CONFIDENCE, look) / 2)
        half = quantile * seen.std(axis=1, ddof=1) / size**0.5
        middle = seen.mean(axis=1)
        covered[open_] = (np.abs(middle - np.log1p(effect)) <= half)[open_]
        open_ &= (middle - half <= 0) & (middle + half >= np.log1p(0.03))
    assert 0.985 < covered.mean() <= 1
