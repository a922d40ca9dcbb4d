"""The rule that ends a warm-up, and the check afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.steady import SteadyRule, mser5


def fed(durations: list[int], window: int = 30) -> SteadyRule:
    rule = SteadyRule(window=window)
    for duration in durations:
        rule.add(duration)
    return rule


def test_a_calm_series_is_steady_only_when_the_window_is_full() -> None:
    calm = [1_000_000 + 1000 * (i % 3) for i in range(30)]
    assert not fed(calm[:29]).steady
    assert fed(calm).steady


def test_a_drifting_series_is_not_steady() -> None:
    assert not fed([2_000_000 - 10_000 * i for i in range(100)]).steady


def test_a_drift_that_ended_is_forgotten() -> None:
    assert fed([2_000_000 - 10_000 * i for i in range(100)] + [1_000_000] * 30).steady


def test_one_spike_is_no_sign_of_a_cold_cache() -> None:
    assert fed([1_000_000] * 20 + [50_000_000] + [1_000_000] * 9).steady


def test_more_spikes_than_a_tenth_are() -> None:
    assert not fed(([1_000_000] * 6 + [2_000_000]) * 10).steady


def test_two_levels_by_turns_are_not_steady() -> None:
    assert not fed([1_000_000, 1_100_000] * 30).steady


@pytest.mark.parametrize(("window", "variation"), [(1, 0.02), (30, 0.0), (30, -1.0)])
def test_senseless_rules_are_refused(window: int, variation: float) -> None:
    with pytest.raises(ValueError, match="window"):
        SteadyRule(window, variation)


def reference(values: list[int]) -> int:
    """MSER-5 as White wrote it down, in exact integers: the variance of each tail over its length."""
    batches = [sum(values[i : i + 5]) for i in range(0, len(values) // 5 * 5, 5)]
    if len(batches) < 2:
        return 0
    best, cut = None, 0
    for drop in range(len(batches) // 2 + 1):
        tail = batches[drop:]
        n = len(tail)
        # n * sum of squares - (sum)^2 is n times the summed squared deviation; over n^3 that is the statistic.
        statistic = (n * sum(value * value for value in tail) - sum(tail) ** 2) / n**3
        if best is None or statistic < best:
            best, cut = statistic, drop
    return 5 * cut


@given(st.lists(st.integers(1, 10**7), max_size=120))
@settings(max_examples=200)
def test_mser5_agrees_with_a_brute_force_reference(values: list[int]) -> None:
    assert mser5(values) == reference(values)


@given(st.integers(0, 60), st.integers(60, 200))
def test_mser5_finds_the_end_of_a_slow_start(slow: int, calm: int) -> None:
    series = [5_000_000] * slow + [1_000_000] * calm
    # A batch that is slow in part goes too; a start beyond the first half cannot be found.
    assert mser5(series) == -(-slow // 5) * 5


def test_mser5_is_not_misled_by_one_enormous_first_sample() -> None:
    # Ten minutes, then a second half of the drift within a microsecond: squares of the first leave no digits for it.
    noise = np.random.default_rng(3).integers(-5, 5, 95) - np.repeat([-40, 0], [45, 50])
    series = [600_000_000_000, *[1_000_000] * 4, *(1_000_000 + noise).tolist()]
    assert mser5(series) == reference(series) == 50


@pytest.mark.parametrize("values", [[], [1], [7] * 9, [7] * 100])
def test_mser5_cuts_nothing_from_what_is_short_or_constant(values: list[int]) -> None:
    assert mser5(values) == 0
