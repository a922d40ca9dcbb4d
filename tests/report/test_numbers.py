"""Numbers for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.numbers import percent, quantity, scale, signed, times


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("ns", [1.2e6, 3.4e6], (1e6, "ms")),
        ("ns", [900e3, 1.1e6], (1e3, "µs")),
        ("ns", [1e6], (1e6, "ms")),
        ("ns", [12.0], (1.0, "ns")),
        ("ns", [0.5], (1.0, "ns")),
        ("ns", [], (1.0, "ns")),
        ("ns", [3e9], (1e9, "s")),
        ("bytes", [43_205_000], (1e6, "MB")),
        ("bytes", [999.0], (1.0, "B")),
        ("tokens/s", [12345.0], (1.0, "tokens/s")),
        ("1", [10_788_929], (1.0, "")),
        ("dB", [-40.0], (1.0, "dB")),
    ],
)
def test_one_unit_a_row(unit: str, values: list[float], expected: tuple[float, str]) -> None:
    assert scale(unit, values) == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "step", "expected"),
    [
        # Two digits of the half width, between three and five of the value.
        (1_234_567, 1_200_000, 1_270_000, (1e6, "ms"), ("1.235 ms", "[1.200, 1.270]")),
        (1_234_567, 900_000, 1_600_000, (1e6, "ms"), ("1.23 ms", "[0.90, 1.60]")),
        (1_234_567, 1_234_000, 1_235_000, (1e6, "ms"), ("1.2346 ms", "[1.2340, 1.2350]")),
        (1820.5, 31.0, 106_823.6, (1.0, "µs"), ("1820 µs", "[31, 106824]")),
        (7.5, 2.1e-9, 2.7e10, (1.0, "µs"), ("8 µs", "[0, 2.7e+10]")),
        (480.0, 463.0, 497.0, (1.0, "tokens/s"), ("480 tokens/s", "[463, 497]")),
        (150.2e6, 100e6, 200e6, (1e6, "ms"), ("150 ms", "[100, 200]")),
        (1_234_567, None, None, (1e6, "ms"), ("1.235 ms", "")),
        (43_205_000, None, None, (1e6, "MB"), ("43.20 MB", "")),
        (512, None, None, (1.0, "B"), ("512 B", "")),
        (32.0, None, None, (1.0, "bits"), ("32 bits", "")),
        (4.25, None, None, (1.0, "bits"), ("4.25 bits", "")),
        (1.46891, None, None, (1.0, "nats"), ("1.4689 nats", "")),
        (10_788_929, None, None, (1.0, ""), ("10,788,929", "")),
        (1.3e-6, None, None, (1.0, ""), ("1.3e-06", "")),
        (-41.234, None, None, (1.0, "dB"), ("-41.23 dB", "")),
        (0.0, None, None, (1e6, "ms"), ("0.000 ms", "")),
    ],
)
def test_as_many_digits_as_the_interval_supports(
    value: float, low: float | None, high: float | None, step: tuple[float, str], expected: tuple[str, str]
) -> None:
    assert quantity(value, low, high, step) == expected


def test_another_figure_of_the_row_may_ask_for_more_places() -> None:
    assert quantity(33.3e6, 32.1e6, 34.5e6, (1e6, "ms"), places=2) == ("33.30 ms", "[32.10, 34.50]")
    assert quantity(33333e6, 32000e6, 34000e6, (1e6, "ms"), places=4) == ("33333 ms", "[32000, 34000]")


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (1.8437, 1.80, 1.88, ("1.84x", "[1.80, 1.88]")),
        (12.345, 11.0, 13.0, ("12.3x", "[11.0, 13.0]")),
        (123.4, 110.0, 140.0, ("123x", "[110, 140]")),
        (0.5, 0.4, 0.6, ("0.50x", "[0.40, 0.60]")),
        (0.0123, None, None, ("0.0123x", "")),
        (1.0, None, None, ("1.00x", "")),
        (1.8521, 1.8511, 1.8531, ("1.852x", "[1.851, 1.853]")),
    ],
)
def test_times(value: float, low: float | None, high: float | None, expected: tuple[str, str]) -> None:
    assert times(value, low, high) == expected


@given(st.floats(1.0001, 1.2), st.floats(0.00001, 1.0))
def test_an_interval_that_excludes_one_is_never_rounded_until_it_touches_one(high: float, part: float) -> None:
    low = 1 + (high - 1) * part
    _, shown = times((low + high) / 2, low, high)
    bounds = [float(bound) for bound in shown.strip("[]").split(", ")]
    assert low <= 1.0000001 or all(bound != 1.0 for bound in bounds)


def test_a_difference_has_a_sign() -> None:
    assert signed(0.0123, (1.0, "nats")) == "+0.0123 nats"
    assert signed(-0.5, (1.0, "")) == "-0.5000"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.05, "5 %"),
        (0.07, "7 %"),
        (0.0821, "8.3 %"),
        (0.0501, "5.1 %"),
        (0.115, "12 %"),
        (0.001, "0.1 %"),
        (1.5, "150 %"),
    ],
)
def test_a_percentage_has_two_digits_and_never_seems_less(share: float, text: str) -> None:
    assert percent(share) == text
