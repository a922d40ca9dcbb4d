"""Numbers for people: one unit a row, and as many digits as the interval supports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "instructions": ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    "cycles": ((1e9, "Gcycles"), (1e6, "Mcycles"), (1e3, "kcycles"), (1.0, "cycles")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "W": ((1.0, "W"), (1e-3, "mW")),
    "1": ((1.0, ""),),
}
# Units of exact figures that are shown as they are: counts, fractions, bits, losses.
_PLAIN = ("", "B", "bits", "nats")


def scale(unit: str, values: Iterable[float]) -> tuple[float, str]:
    """The divisor and the name of the unit that suits the geometric mean of `values` (SI prefixes;
    nanoseconds, bytes, joules).
    """
    steps = _SCALES.get(unit, ((1.0, unit),))
    logs = [math.log(abs(value)) for value in values if value]
    typical = math.exp(sum(logs) / len(logs)) if logs else 0.0
    return next(((divisor, name) for divisor, name in steps if typical >= divisor * 0.9995), steps[-1])


def quantity(
    value: float, low: float | None, high: float | None, step: tuple[float, str], places: int = 0
) -> tuple[str, str]:
    """`12.34 ms` and `[12.21, 12.47]` (empty without an interval), in the unit that `scale` chose.

    `places` are decimal places that other figures of the row need; a value has at most five significant
    digits.
    """
    divisor, name = step
    suffix = f" {name}" if name else ""
    scaled = value / divisor
    largest = max(abs(value), high or 0.0) / divisor
    places = max(0, min(max(places, decimals(value, low, high, step)), 4 - _exponent(largest)))
    if low is not None and high is not None:
        return f"{scaled:.{places}f}{suffix}", f"[{_bound(low / divisor, places)}, {_bound(high / divisor, places)}]"
    if name in _PLAIN:
        return (f"{scaled:,.0f}" if float(scaled).is_integer() else f"{scaled:.5g}") + suffix, ""
    return f"{scaled:.{places}f}{suffix}", ""


def times(value: float, low: float | None, high: float | None) -> tuple[str, str]:
    """`1.84x` and `[1.80, 1.88]`. An interval that excludes 1 is never rounded until it touches 1."""
    places = max(0, 2 - max(0, _exponent(value))) if value >= 0.1 else 2 - _exponent(value)
    if low is None or high is None:
        return f"{value:.{places}f}x", ""
    if (high - low) / 2 < 0.005 and value < 10:
        places += 1
    while not low <= 1.0 <= high and "1" in _trimmed((low, high), places) and places < 9:
        places += 1
    return f"{value:.{places}f}x", f"[{_bound(low, places)}, {_bound(high, places)}]"


def percent(share: float) -> str:
    """`8.3 %` or `12 %` of 0.0829 or 0.1151: two digits, rounded up, since what would not show must not seem less."""
    places = max(0, 1 - _exponent(100 * share))
    digits = math.ceil(round(100 * share * 10**places, 6)) / 10**places
    return f"{digits:g} %"


def signed(value: float, step: tuple[float, str]) -> str:
    """A difference with its sign: `+0.0123 nats`."""
    divisor, name = step
    shown = f"{value / divisor:+.4f}"
    return f"{shown} {name}" if name else shown


def decimals(value: float, low: float | None, high: float | None, step: tuple[float, str]) -> int:
    """Decimal places for `value` in its scaled unit: two significant digits of the interval's half width and
    at least three of the value; four of the value where there is no interval.
    """
    exponent = _exponent(value / step[0])
    if low is None or high is None or high <= low:
        return max(0, 3 - exponent)
    return max(0, 1 - _exponent((high - low) / 2 / step[0]), 2 - exponent)


def _bound(value: float, places: int) -> str:
    """A bound with `places` decimals. Those of more than six digits are rounded to two, since nobody reads more in them
    and a table must fit its page.
    """
    return f"{value:.{places}f}" if abs(value) < 1e6 else f"{value:.1e}"


def _exponent(value: float) -> int:
    """The power of ten of the first digit; 0.9999999999, which a mean of logarithms makes of 1, counts as 1."""
    return math.floor(math.log10(abs(value)) + 1e-9) if value else 0


def _trimmed(values: Sequence[float], places: int) -> set[str]:
    return {f"{value:.{places}f}".rstrip("0").rstrip(".") if places else f"{value:.0f}" for value in values}
