"""Means and their intervals, by properties and by one example worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.summary import half_width, log_mean, mean

positive = st.floats(1e-3, 1e9)
several = st.lists(st.floats(1e3, 2e3), min_size=3, max_size=8)


def test_log_mean_of_three_values_worked_out_by_hand() -> None:
    # Logs 0, 1 and 2, a tenth each: mean 0.1, standard deviation 0.1, t(0.975, 2) = 4.30265.
    found = log_mean([1.0, math.exp(0.1), math.exp(0.2)])
    half = 4.30265 * 0.1 / math.sqrt(3)
    assert found.value == pytest.approx(math.exp(0.1))
    assert (found.low, found.high) == pytest.approx((math.exp(0.1 - half), math.exp(0.1 + half)), rel=1e-5)
    assert found.processes == 3


def test_mean_of_three_values_worked_out_by_hand() -> None:
    # Mean 0, standard deviation 1, t(0.975, 2) = 4.30265, half width 4.30265 / sqrt(3).
    found = mean([-1.0, 0.0, 1.0])
    assert (found.value, found.processes) == (0.0, 3)
    assert found.high == pytest.approx(2.48414, rel=1e-5)
    assert found.low == pytest.approx(-2.48414, rel=1e-5)


@given(positive, st.integers(1, 8))
def test_the_mean_of_equal_values_is_that_value_to_the_last_bit(value: float, processes: int) -> None:
    found = log_mean([value] * processes)
    assert found.value == value
    assert found.low in (None, value)
    assert found.high in (None, value)


@pytest.mark.parametrize("values", [[5.0], [4.0, 6.25]])
def test_one_or_two_processes_have_a_value_and_no_interval(values: list[float]) -> None:
    assert log_mean(values).value == pytest.approx(5.0)
    assert mean(values).value == pytest.approx(sum(values) / len(values))
    for found in (log_mean(values), mean(values)):
        assert (found.low, found.high, found.processes) == (None, None, len(values))
    assert half_width(np.array(values), 0.95) is None


def test_three_processes_that_disagree_have_no_interval_and_a_little_less_have_a_wide_one() -> None:
    # Logs -s, 0 and s: standard deviation s, half width 4.30265 / sqrt(3) * s, and a factor of 100 is 2 log 10.
    edge = math.log(10) / (4.30265 / math.sqrt(3))
    for s, there in ((1.01 * edge, False), (0.99 * edge, True)):
        found = log_mean([math.exp(-s), 1.0, math.exp(s)])
        assert (found.low is not None, found.high is not None) == (there, there)
    assert found.high == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0, 2.0], [math.nan], [math.inf]])
def test_log_mean_refuses_what_has_no_logarithm(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        log_mean(bad)


@pytest.mark.parametrize("bad", [[], [math.nan, 1.0], [math.inf]])
def test_mean_refuses_what_is_not_finite(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean(bad)


@given(several)
def test_the_interval_contains_the_value_and_the_value_lies_among_the_data(values: list[float]) -> None:
    found = log_mean(values)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert min(values) * (1 - 1e-9) <= found.value <= max(values) * (1 + 1e-9)


@given(several, st.floats(1e-2, 1e2))
def test_scaling_the_data_scales_the_estimate(values: list[float], factor: float) -> None:
    plain, scaled = log_mean(values), log_mean([value * factor for value in values])
    assert scaled.value == pytest.approx(plain.value * factor, rel=1e-9)
    assert plain.high is not None
    assert scaled.high is not None
    assert scaled.high == pytest.approx(plain.high * factor, rel=1e-6)


@given(several)
def test_a_higher_confidence_widens_the_interval(values: list[float]) -> None:
    narrow, wide = mean(values, 0.90), mean(values, 0.99)
    assert narrow.low is not None
    assert wide.low is not None
    assert wide.low <= narrow.low
