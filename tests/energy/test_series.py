"""From readings to joules: counters and sampled power tell the same energy; what tells none says why."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.energy.series import Series, from_counter, from_power, total, window
from harness.energy.source import NoEnergy

# A made-up device: watts at every second of a minute, linear between.
CURVES = st.lists(st.floats(2, 60), min_size=61, max_size=61)
SECONDS = np.arange(61.0)


def joules_at(curve: list[float], at_s: np.ndarray) -> np.ndarray:
    """The exact integral of a curve up to each moment."""
    fine = np.linspace(0, 60, 60_001)
    watts = np.interp(fine, SECONDS, curve)
    whole = np.concatenate([[0], np.cumsum((watts[1:] + watts[:-1]) / 2 * np.diff(fine))])
    return np.interp(at_s, fine, whole)


@given(
    curve=CURVES,
    period_s=st.floats(0.05, 0.2),
    tick_j=st.sampled_from([1.526e-5, 0.001, 0.1, 1.0]),
    wraps_j=st.sampled_from([None, 97.0, 262.0]),
    origin_j=st.floats(0, 96),
    start_s=st.floats(0.1, 15),
    end_s=st.floats(45, 59),
)
def test_a_counter_and_sampled_power_of_one_device_tell_the_same_energy(
    curve: list[float],
    period_s: float,
    tick_j: float,
    wraps_j: float | None,
    origin_j: float,
    start_s: float,
    end_s: float,
) -> None:
    """Within 2 %, whatever the counter's steps and however often it wraps; and both within 2 % of the truth."""
    at_s = np.arange(0, 60, period_s)
    counted = np.floor((joules_at(curve, at_s) + origin_j) / tick_j) * tick_j
    raw = counted if wraps_j is None else counted % wraps_j
    from_joules = window(from_counter(at_s.tolist(), raw.tolist(), wraps_j), start_s, end_s)
    from_watts = window(from_power(at_s.tolist(), np.interp(at_s, SECONDS, curve).tolist()), start_s, end_s)
    (low, high) = joules_at(curve, np.array([start_s, end_s]))
    assert from_joules.joules == pytest.approx(from_watts.joules, rel=0.02)
    assert from_joules.joules == pytest.approx(high - low, rel=0.02)
    assert from_joules.watts == pytest.approx((high - low) / (end_s - start_s), rel=0.02)


@given(curve=CURVES, tick_j=st.floats(0.01, 20), start_s=st.floats(1, 20), end_s=st.floats(40, 58))
def test_the_error_of_a_coarse_counter_is_within_its_resolution(
    curve: list[float], tick_j: float, start_s: float, end_s: float
) -> None:
    at_s = np.arange(0, 60, 0.1)
    counted = np.floor(joules_at(curve, at_s) / tick_j) * tick_j
    found = window(from_counter(at_s.tolist(), counted.tolist(), None), start_s, end_s, least_ticks=1)
    (low, high) = joules_at(curve, np.array([start_s, end_s]))
    # One step at each edge, and what a poll of 0.1 s may be late.
    assert abs(found.joules - (high - low)) <= 2 * found.resolution_j + 2 * 0.1 * max(curve)
    assert found.resolution_j >= tick_j * 0.99


@given(
    start_s=st.floats(0.5, 10),
    lasts_s=st.floats(4, 9),
    gap=st.floats(0.1, 0.9),
    begins=st.floats(0, 1),
    end=st.booleans(),
)
def test_a_stretch_without_readings_is_known_wherever_it_lies(
    start_s: float, lasts_s: float, gap: float, begins: float, end: bool
) -> None:
    """No more than a quarter of a window may be unread, at its edges as within."""
    end_s = start_s + lasts_s
    first = end_s - gap * lasts_s if end else start_s + begins * (1 - gap) * lasts_s
    until = first + gap * lasts_s
    at_s = [at for at in STEADY if not first < at < until]
    kept = np.array([start_s, *(at for at in at_s if start_s < at < end_s), end_s])
    unread_s = float(np.diff(kept).max())
    try:
        joules = window(series(at_s), start_s, end_s, least_ticks=1).joules
    except NoEnergy:
        assert unread_s > 0.249 * lasts_s
    else:
        assert unread_s < 0.251 * lasts_s
        assert joules == pytest.approx(10.0 * lasts_s)


def test_noise_around_zero_is_no_reversed_meter() -> None:
    found = window(from_power(STEADY, [10.0, 10.0, 10.0, -0.1] * 50), 2.0, 12.0)
    assert found.joules == pytest.approx(10.0 * 7.475, rel=0.02)


@pytest.mark.parametrize("raw", [float("nan"), float("inf")])
def test_a_counter_that_says_no_number_has_no_energy(raw: float) -> None:
    with pytest.raises(NoEnergy, match="counter says something that is no number"):
        from_counter([0.0, 1.0, 2.0], [1.0, raw, 2.0], None)


def test_power_of_a_constant_is_itself() -> None:
    at_s = [0.1 * step for step in range(101)]
    found = window(from_power(at_s, [5.0] * 101), 1.0, 9.0)
    assert found.joules == pytest.approx(40.0)
    assert found.watts == pytest.approx(5.0)
    assert found.resolution_j == pytest.approx(0.5)
    assert found.ticks == 79


def test_power_that_changes_is_taken_as_linear_between_samples() -> None:
    assert from_power([0.0, 10.0, 12.0], [0.0, 10.0, 4.0]).joules.tolist() == [0.0, 50.0, 64.0]


def test_a_wrap_is_followed() -> None:
    at_s = [float(second) for second in range(30)]
    raw = [(250.0 + 10 * second) % 262.0 for second in range(30)]
    assert from_counter(at_s, raw, 262.0).joules[-1] == pytest.approx(290.0)


@pytest.mark.parametrize("wraps_j", [None, 262_143.0])
def test_a_counter_that_was_reset_has_no_energy(wraps_j: float | None) -> None:
    raw = [5000.0 + second for second in range(10)] + [float(second) for second in range(10)]
    with pytest.raises(NoEnergy, match="counter package-0 was reset"):
        from_counter([float(second) for second in range(20)], raw, wraps_j, "counter package-0")


def test_a_counter_that_leaps_was_reset_too() -> None:
    with pytest.raises(NoEnergy, match="reset"):
        from_counter([0.0, 0.1, 0.2], [1.0, 2.0, 50_000.0], None)


def series(at_s: list[float], watts: float = 10.0) -> Series:
    return from_power(at_s, [watts] * len(at_s))


STEADY = [0.1 * step for step in range(200)]


@pytest.mark.parametrize(
    ("found", "start_s", "end_s", "why"),
    [
        (series(STEADY), -1.0, 5.0, "do not cover"),
        (series(STEADY), 5.0, 25.0, "do not cover"),
        (Series(np.array([]), np.array([0.0])), 1.0, 2.0, "do not cover"),
        (series(STEADY), 1.0, 2.0, "moved 9 times within 1 s, and 20 are needed"),
        (series([*STEADY[:60], *STEADY[150:]]), 1.0, 19.0, "nothing was read for 9.1 s of the 18 s"),
        # Nothing for the last 3 of 9.9 s, and for the first 3 of them.
        (series([*STEADY[:80], 20.0]), 1.0, 10.9, "nothing was read for 3 s of the 9.9 s"),
        (series([0.0, *STEADY[40:]]), 1.0, 10.9, "nothing was read for 3 s of the 9.9 s"),
        (series(STEADY, -10.0), 1.0, 19.0, "which no device can draw"),
        (from_counter(STEADY, [7.0] * 200, None), 1.0, 19.0, "moved 0 times"),
        # A counter that stands still at the end: it is read, and what it would have said is not known.
        (from_counter(STEADY, [min(step, 80) / 2 for step in range(200)], None), 1.0, 12.0, "nothing was read for 4 s"),
        (from_power(STEADY, [20.0] * 100 + [-5.0] * 100), 5.0, 15.0, "below zero .* 25 J beside 73.8 J"),
        (from_power(STEADY, [-5.0] * 100 + [20.0] * 100), 5.0, 15.0, "other way round"),
    ],
)
def test_a_window_without_energy_says_why(found: Series, start_s: float, end_s: float, why: str) -> None:
    with pytest.raises(NoEnergy, match=why):
        window(found, start_s, end_s)


@pytest.mark.parametrize("watts", [float("nan"), 25_000.0])
def test_power_in_other_units_is_refused(watts: float) -> None:
    with pytest.raises(NoEnergy, match="not in watts"):
        from_power([0.0, 1.0], [1.0, watts])


def test_parts_add_up() -> None:
    parts = [series(STEADY, watts) for watts in (1.0, 2.0, 3.5)]
    assert window(total(parts), 2.0, 12.0).joules == pytest.approx(65.0)
    for before, after in itertools.pairwise(total(parts).joules):
        assert after > before
