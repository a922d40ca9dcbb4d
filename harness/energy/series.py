"""From readings to joules that only grow, and from those to the energy of a window. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.energy.source import TICKS, NoEnergy

Floats = NDArray[np.float64]

# More than any device that harness measures draws: a counter that moved faster was reset, it did not wrap.
_MOST_W = 20_000.0
# No stretch without a reading may be longer than this part of the window: whatever happened there is not known.
_GAP = 0.25
# Of what was drawn within a window, this part may have flowed back: noise around zero, not a meter that is reversed.
_BACK = 0.01


@dataclass(frozen=True)
class Series:
    """Joules since the first reading, [n], and when they were read, [n] rising seconds of one clock."""

    at_s: Floats
    joules: Floats


@dataclass(frozen=True)
class Energy:
    """The energy of a window. `resolution_j` could as well lie on the other side of one of its edges; `ticks` readings
    fell within.
    """

    joules: float
    watts: float
    resolution_j: float
    ticks: int


def from_counter(at_s: Sequence[float], raw_j: Sequence[float], wraps_j: float | None, name: str = "counter") -> Series:
    """The series of a counter of joules that begins anew after `wraps_j` (None: never).

    A fall is a wrap where the joules that it implies could have been drawn since the last reading; two wraps between
    two readings cannot be seen. Raises NoEnergy where the counter was reset, or says something that is no number.
    """
    times, raw = np.asarray(at_s, float), np.asarray(raw_j, float)
    if not np.isfinite(raw).all():
        raise NoEnergy(f"the {name} says something that is no number")
    gained = np.diff(raw)
    if wraps_j is not None:
        gained = np.where(gained < 0, gained + wraps_j, gained)
    if ((gained < 0) | (gained > _MOST_W * np.diff(times) + 1.0)).any():
        raise NoEnergy(f"the {name} was reset while it was measured")
    return Series(times, np.concatenate([[0.0], np.cumsum(gained)]))


def from_power(at_s: Sequence[float], watts: Sequence[float]) -> Series:
    """The series of sampled power, by the trapezoidal rule. Raises NoEnergy for power that is no power."""
    times, power = np.asarray(at_s, float), np.asarray(watts, float)
    if not np.isfinite(power).all() or (np.abs(power) > _MOST_W).any():
        raise NoEnergy(f"the power that was read is not in watts: it reaches {np.abs(power).max():g}")
    return Series(times, np.concatenate([[0.0], np.cumsum(np.diff(times) * (power[1:] + power[:-1]) / 2)]))


def total(parts: Sequence[Series]) -> Series:
    """The sum of series that were read at the same times."""
    return Series(parts[0].at_s, np.sum([part.joules for part in parts], axis=0))


def window(series: Series, start_s: float, end_s: float, least_ticks: int = TICKS) -> Energy:
    """The energy between two moments, linear between readings. Raises NoEnergy where the series does not reach over
    the window, has fewer than `least_ticks` readings in it that tell anything new, or a long gap, or falls.
    """
    if len(series.at_s) == 0 or start_s < series.at_s[0] or end_s > series.at_s[-1]:
        raise NoEnergy("the readings do not cover the window that was timed")
    # A counter that is asked more often than it moves says the same again: only a new value is a tick.
    new = np.concatenate([[True], np.diff(series.joules) != 0])
    new[-1] = True
    at_s, joules = series.at_s[new], series.joules[new]
    inside = at_s[(at_s > start_s) & (at_s < end_s)]
    if len(inside) < least_ticks:
        raise NoEnergy(
            f"the source moved {len(inside)} times within {end_s - start_s:.3g} s, and {least_ticks} are needed "
            "(--min-duration makes it longer)"
        )
    gap = float(np.diff(inside, prepend=start_s, append=end_s).max())
    if gap > _GAP * (end_s - start_s):
        raise NoEnergy(f"nothing was read for {gap:.3g} s of the {end_s - start_s:.3g} s that were timed")
    drawn = np.diff(np.interp([start_s, *inside, end_s], at_s, joules))
    used, back = float(drawn.sum()), float(-drawn[drawn < 0].sum())
    if used <= 0:
        raise NoEnergy(f"the source says {used:.3g} J, which no device can draw")
    if back > _BACK * used:
        raise NoEnergy(
            f"power was below zero for a part of it, {back:.3g} J beside {used:.3g} J; is the meter connected the "
            "other way round, or the device charged?"
        )
    edges = np.clip(np.searchsorted(at_s, [start_s, end_s]), 1, len(at_s) - 1)
    return Energy(used, used / (end_s - start_s), float(np.abs(joules[edges] - joules[edges - 1]).max()), len(inside))
