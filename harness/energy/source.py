"""What a source of energy is: readings of counters or of power, how they were obtained, and how finely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

# counter: the hardware adds up joules. sampled: power is read now and then and integrated here. external: a meter
# beside the device, from its file. estimated: a model of the processor's activity, nothing that was measured.
Tier = Literal["counter", "sampled", "external", "estimated"]

# A window that holds fewer readings than this of its source has no energy: each of its two edges may be off by one.
TICKS = 20


class NoEnergy(Exception):
    """There is no figure; the text says why, as the reason of a null."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """`read` gives one value for each of `parts`: joules of a counter that only grows, or watts where `power`. It
    raises NoEnergy where they mean nothing, OSError or HarnessError where they cannot be had; None for a meter whose
    file is read when the run has ended.

    `wraps_j` has, for each part, the joules after which its counter begins anew, None for never. Of `parts` those
    `contained` in others are reported, and not added to the total. `period_s` lies between two readings; a window of
    `window_s` seconds has well over `TICKS` of them.
    """

    name: str
    tier: Tier
    parts: tuple[str, ...] = ("total",)
    read: Callable[[], Sequence[float]] | None = None
    power: bool = False
    wraps_j: tuple[float | None, ...] = (None,)
    contained: frozenset[str] = frozenset()
    period_s: float = 0.1
    window_s: float = 10.0


@dataclass(frozen=True)
class Missing:
    """Why there is no source, as the reason of a null, and what to do about it."""

    reason: str
    todo: str = ""
