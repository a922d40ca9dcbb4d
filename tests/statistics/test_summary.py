"""Means and their intervals, by properties and by one example worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.summary import half_width, log_mean, mean

positive = st.floats(1e-3, 1e9)
several = st.lists(positive, min_size=2, max_size=8)


def test_log_mean_of_two_values_worked_out_by_hand() -> None:
    # Logs 0 and 2: mean 1, standard deviation sqrt(2), t(0.975, 1) = 12.7062, half width 12.7062.
    found = log_mean([1.0, math.exp(2.0)])
    assert found.value == pytest.approx(math.e)
    assert found.low == pytest.approx(math.exp(1 - 12.7062), rel=1e-4)
    assert found.high == pytest.approx(math.exp(1 + 12.7062), rel=1e-4)
    assert found.processes == 2


def test_mean_of_three_values_worked_out_by_hand() -> None:
    # Mean 0, standard deviation 1, t(0.975, 2) = 4.30265, half width 4.30265 / sqrt(3).
    found = mean([-1.0, 0.0, 1.0])
    assert (found.value, found.processes) == (0.0, 3)
    assert found.high == pytest.approx(2.48414, rel=1e-5)
    assert found.low == pytest.approx(-2.48414, rel=1e-5)


def test_one_process_has_a_value_and_no_interval() -> None:
    for found in (log_mean([5.0]), mean([5.0])):
        assert found.value == pytest.approx(5.0)
        assert (found.low, found.high, found.processes) == (None, None, 1)
    assert half_width(np.array([5.0]), 0.95) is None


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
    # In logarithms, because an interval of two processes may reach to infinity.
    assert scaled.high == pytest.approx(plain.high * factor, rel=1e-6)


@given(several)
def test_a_higher_confidence_widens_the_interval(values: list[float]) -> None:
    narrow, wide = mean(values, 0.90), mean(values, 0.99)
    assert narrow.low is not None
    assert wide.low is not None
    assert wide.low <= narrow.low
