"""Windowing: the neurons of the last k tokens stay in DRAM, only new ones are loaded ("LLM in a flash", arXiv
2312.11514, 3.1).

A layer's neurons lie in numbered slots of an arena that is never reallocated. A slot changes its owner only when the
last token that used it leaves the window, so a neuron is never moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.flash.io.geometry import Indices


@dataclass(frozen=True)
class Step:
    """What a token asks of a layer: read `load` [m] into `load_slots` [m]; its active neurons [n] then lie in
    `slots_of_active` [n], in their own order. `dropped` neurons gave up their slots before.
    """

    load: Indices
    load_slots: Indices
    slots_of_active: Indices
    dropped: int


class Window:
    """The window of one layer: `neurons` of which at most `slots` are resident, those active in the last `tokens`.

    What a step allocates grows with the active neurons, not with the layer. Raises UsageError for `tokens` below 1.
    """

    def __init__(self, neurons: int, tokens: int, slots: int) -> None:
        if tokens < 1:
            raise UsageError(f"A window of {tokens} tokens keeps nothing.", "Give a window of 1 or more.")
        self._tokens, self._slots = tokens, slots
        self._slot = np.full(neurons, -1, dtype=np.int64)
        self._last_used = np.full(neurons, -1, dtype=np.int64)
        self._free, self._free_count = np.arange(slots, dtype=np.int64), slots
        self._recent = [np.empty(0, dtype=np.int64)] * tokens
        self._token = -1

    def step(self, active: Indices) -> Step:
        """Take in the next token's active neurons, int64 [n], ascending.

        Raises UsageError when the window does not fit its slots, and is of no use after that; ValueError for neurons
        that are not ascending or not of this layer.
        """
        if active.size and (active[0] < 0 or active[-1] >= len(self._slot) or (active[1:] <= active[:-1]).any()):
            raise ValueError("active neurons must be ascending and of this layer")
        self._token += 1
        load = active[self._slot[active] < 0]
        self._last_used[active] = self._token
        leaving = self._recent[self._token % self._tokens]
        dropped = leaving[self._last_used[leaving] == self._token - self._tokens]
        self._release(dropped)
        load_slots = self._take(len(load))
        self._slot[load] = load_slots
        self._recent[self._token % self._tokens] = active.copy()
        return Step(load, load_slots, self._slot[active], len(dropped))

    @property
    def resident(self) -> int:
        """How many neurons are in DRAM now."""
        return self._slots - self._free_count

    def _release(self, dropped: Indices) -> None:
        end = self._free_count + len(dropped)
        self._free[self._free_count : end] = self._slot[dropped]
        self._slot[dropped] = -1
        self._free_count = end

    def _take(self, count: int) -> Indices:
        if count > self._free_count:
            raise UsageError(
                f"The DRAM budget has {self._slots} neurons of a layer, "
                f"and a window of {self._tokens} tokens needs {self.resident + count}.",
                "Give a larger budget or a shorter window.",
            )
        self._free_count -= count
        return self._free[self._free_count : self._free_count + count].copy()
