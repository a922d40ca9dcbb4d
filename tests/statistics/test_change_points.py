"""Change points: found where a level changes, nowhere else, and in the same places however the series is turned."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.change_points import SEGMENT, best_split, change_points
from harness.statistics.control_charts import cusum, threshold


def noise(nights: int, seed: int, spread: float = 0.01) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, spread, nights))


@given(seed=st.integers(0, 10_000), at=st.integers(8, 32), ratio=st.sampled_from([0.8, 1.1, 1.5]))
@settings(max_examples=60)
def test_a_step_in_quiet_noise_is_found_where_it_is(seed: int, at: int, ratio: float) -> None:
    series = noise(40, seed)
    series[at:] *= ratio
    (found,) = change_points(series)
    assert abs(found.index - at) <= 1
    assert found.ratio == pytest.approx(ratio, rel=0.02)
    assert found.p_value < 1e-4


def test_unchanged_noise_raises_almost_nothing() -> None:
    found = sum(len(change_points(noise(60, seed, 0.03))) for seed in range(300))
    assert found <= 9  # of 18,000 nights: 0.05 in a hundred


@given(
    seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e9), levels=st.lists(st.floats(0.5, 2), min_size=1, max_size=4)
)
@settings(max_examples=60)
def test_units_and_direction_of_time_change_nothing_but_the_order(seed: int, scale: float, levels: list[float]) -> None:
    series = np.concatenate([level * noise(15, seed + number) for number, level in enumerate(levels)])
    found = change_points(series)
    scaled = change_points(series * scale)
    assert [point.index for point in scaled] == [point.index for point in found]
    inverted = change_points(1 / series)
    assert [point.index for point in inverted] == [point.index for point in found]
    assert [point.ratio for point in inverted] == pytest.approx([1 / point.ratio for point in found])


@given(
    values=st.lists(st.floats(0.1, 10), max_size=80),
    segment=st.integers(2, 6),
    max_p=st.floats(1e-6, 0.5),
    min_change=st.floats(0, 0.5),
)
@settings(max_examples=100)
def test_every_change_keeps_its_promises(values: list[float], segment: int, max_p: float, min_change: float) -> None:
    found = change_points(values, max_p, min_change, segment)
    edges = [0, *(point.index for point in found), len(values)]
    assert not found or all(second - first >= segment for first, second in pairwise(edges))
    for point in found:
        assert point.p_value <= max_p
        assert max(point.ratio, 1 / point.ratio) - 1 >= min_change


def test_two_changes_that_cancel_are_both_found() -> None:
    series = noise(45, 3)
    series[15:30] *= 1.2
    assert [point.index for point in change_points(series)] == [15, 30]


def test_a_long_series_is_searched_in_windows() -> None:
    series = noise(400, 5)
    for at, ratio in ((90, 1.1), (210, 0.9), (330, 1.2)):
        series[at:] *= ratio
    assert [point.index for point in change_points(series)] == [90, 210, 330]


def test_figures_that_repeat_exactly_change_only_when_they_do() -> None:
    assert change_points([1000.0] * 30) == []
    (found,) = change_points([1000.0] * 10 + [1040.0] * 5)
    assert (found.index, found.p_value) == (10, 0.0)
    assert found.ratio == pytest.approx(1.04)


def test_a_change_too_small_to_matter_is_none() -> None:
    series = [1000.0] * 10 + [1020.0] * 10
    assert change_points(series) == []
    assert len(change_points(series, min_change=0.01)) == 1


@pytest.mark.parametrize("nights", range(2 * SEGMENT))
def test_too_few_nights_say_nothing(nights: int) -> None:
    assert change_points([1.0, 2.0, 3.0, 4.0, 5.0][:nights]) == []


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_figures_that_have_no_logarithm_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        change_points([1.0] * 10 + [bad])


@given(values=st.lists(st.floats(-100, 100), min_size=6, max_size=20))
def test_the_best_split_is_that_of_the_definition(values: list[float]) -> None:
    x = np.array(values)

    def energy(at: int) -> float:
        left, right = x[:at], x[at:]
        n, m = len(left), len(right)

        def mean(a: np.ndarray, b: np.ndarray, pairs: int) -> float:
            return float(np.abs(a[:, None] - b[None, :]).sum() / pairs)

        gap = 2 * mean(left, right, n * m) - mean(left, left, n * (n - 1)) - mean(right, right, m * (m - 1))
        return n * m / (n + m) * gap

    found = best_split(x, 3)
    assert found is not None
    assert energy(found) == pytest.approx(max(energy(at) for at in range(3, len(x) - 2)), abs=1e-6)


def test_the_simple_ways_find_what_they_are_known_for() -> None:
    series = noise(60, 2)
    series[30:] *= 1.2
    assert threshold(series) == [30]
    assert threshold(series / np.linspace(1, 2, 60)) == [30]  # a slow drift is never seen
    assert 30 <= cusum(series)[0] <= 32
    assert cusum([1.0] * 50) == []
    assert cusum([1.0] * 20) == []
