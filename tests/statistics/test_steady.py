"""The rule that ends a warm-up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from statistics import median_low

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.steady import (
    CHECKED_QUERIES,
    LEAST,
    MAX_DIFFERENCE,
    WINDOW,
    WINDOW_NS,
    SteadyRule,
    still_warming,
)

SEEDS = st.integers(0, 2**32)
MILLISECOND = 1_000_000


def stops(durations: Iterable[int]) -> int | None:
    """After how many durations the rule is content; None: never."""
    rule = SteadyRule()
    for count, duration in enumerate(durations, 1):
        rule.add(duration)
        if rule.steady:
            return count
    return None


def noisy(seed: int, count: int, least: int, most: int) -> list[int]:
    """Durations between two bounds, made faster than hypothesis draws them."""
    return Random(seed).choices(range(least, most), k=count)


def by_definition(durations: Sequence[int]) -> int | None:
    """The rule as its docstring says it, from the whole series at each look."""
    look = LEAST
    while look <= len(durations):
        known = durations[max(0, look - WINDOW) : look]
        window = min(WINDOW, max(LEAST, WINDOW_NS // max(1, min(known))))
        if window > len(known):
            look += window - len(known)
            continue
        half, recent = window // 2, known[-window:]
        first, last = median_low(recent[:half]), median_low(recent[-half:])
        if abs(first - last) <= MAX_DIFFERENCE * min(first, last):
            return look
        look += window // 4
    return None


@given(SEEDS, st.integers(0, 400), st.integers(0, 10**9), st.sampled_from((1.01, 1.1, 2)))
@settings(max_examples=200)
def test_the_rule_is_what_it_is_said_to_be(seed: int, count: int, least: int, spread: float) -> None:
    durations = noisy(seed, count, least, int(least * spread) + 1)
    assert stops(durations) == by_definition(durations)


@given(SEEDS)
def test_a_calm_series_is_steady_once_the_window_is_full(seed: int) -> None:
    durations = noisy(seed, WINDOW, 100_000, 100_500)
    assert stops(durations[:-1]) is None
    assert stops(durations) == WINDOW


@pytest.mark.parametrize(
    ("milliseconds", "count"), [(0.01, 180), (1, 180), (1.1, 180), (5, 40), (10, 20), (20, 10), (100, 10), (5000, 10)]
)
def test_slow_queries_have_a_shorter_window(milliseconds: float, count: int) -> None:
    assert stops([int(milliseconds * MILLISECOND)] * WINDOW) == count


@given(st.floats(0.0005, 0.05), st.integers(2 * WINDOW, 5 * WINDOW))
def test_a_decline_is_not_steady(rate: float, count: int) -> None:
    # 90 queries on, it is 4.4 % lower at the least.
    assert stops(int(1e8 * (1 - rate) ** i) // 10**3 for i in range(min(count, int(8 / rate)))) is None


@given(st.integers(WINDOW // 4 + 1, 3 * WINDOW // 4 - 1), st.floats(1.03, 10), st.booleans())
def test_a_step_inside_the_window_is_not_steady(at: int, ratio: float, up: bool) -> None:
    levels = [100_000, int(100_000 * ratio)]
    before, after = levels if up else levels[::-1]
    assert stops([before] * at + [after] * (WINDOW - at)) is None


@given(SEEDS, st.dictionaries(st.integers(0, WINDOW - 1), st.integers(1, 100), max_size=20))
def test_a_few_interrupts_are_no_sign_of_a_cold_cache(seed: int, spikes: dict[int, int]) -> None:
    calm = noisy(seed, WINDOW, 100_000, 100_500)
    for at, factor in spikes.items():
        calm[at] *= factor
    assert stops(calm) == WINDOW


@given(SEEDS, st.integers(0, 9))
def test_the_unit_of_time_does_not_matter_to_fast_queries(seed: int, power: int) -> None:
    durations = noisy(seed, 3 * WINDOW, 500, 1_000)
    assert stops(duration << power for duration in durations) == stops(durations)


def test_one_slow_query_at_the_start_does_not_shorten_the_window() -> None:
    assert stops([20_000 * MILLISECOND] + [10_000] * 400) == WINDOW


def test_it_is_looked_at_after_each_quarter_of_the_window_alone() -> None:
    warm = [130_000] * WINDOW + [100_000] * WINDOW
    assert {stops(warm[cold:]) for cold in range(1, 60)} <= set(range(WINDOW, 2 * WINDOW + 1, WINDOW // 4))


def test_what_was_steady_is_looked_at_again() -> None:
    rule = SteadyRule()
    for duration in [100_000] * WINDOW + [200_000] * (WINDOW // 2):
        rule.add(duration)
    assert not rule.steady


@given(SEEDS)
def test_a_level_series_is_never_called_warming_and_a_declining_one_always(seed: int) -> None:
    level = noisy(seed, 400, 995, 1005)
    assert not still_warming(level)
    assert still_warming([duration * 1.05 for duration in level[:100]] + level[100:])
    assert not still_warming([duration * 1.02 for duration in level[:100]] + level[100:]), "less than 3 %"
    assert not still_warming(level[:100] + [duration * 1.05 for duration in level[100:]]), "it became slower"


def test_one_late_slow_quarter_is_another_disturbance() -> None:
    assert not still_warming([1050] * 100 + [1000] * 200 + [1040] * 100)


def test_of_few_queries_nothing_is_said() -> None:
    series = [1100] * 25 + [1000] * 75
    assert still_warming(series)
    assert len(series) == CHECKED_QUERIES
    assert not still_warming(series[1:])
