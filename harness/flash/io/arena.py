"""The DRAM that neurons are read into: taken once, never moved, never grown."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError


class Arena:
    """`slots` of `slot_bytes` each, as `view` uint8 [slots, slot_bytes], zero at first; `bytes` is what they take of
    DRAM.

    Page aligned, as O_DIRECT wants it, and private: a shared anonymous mapping, which is what `mmap(-1)` gives, would
    be charged as shared memory. All pages are touched here, so that no read has to wait for one.

    Raises UsageError where `budget_bytes` is given and is less, or where the system has no such memory.
    """

    def __init__(self, slots: int, slot_bytes: int, budget_bytes: int | None = None) -> None:
        self.slots, self.slot_bytes = slots, slot_bytes
        self.bytes = -(-slots * slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if budget_bytes is not None and self.bytes > budget_bytes:
            raise UsageError(
                f"A DRAM budget of {budget_bytes} bytes is below the {self.bytes} bytes that {slots} slots of "
                f"{slot_bytes} bytes take.",
                "Raise the budget, or shorten the window.",
            )
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        try:
            # Never closed: it goes with the last view of it, so that no reader can write into memory given back.
            memory = mmap.mmap(-1, max(self.bytes, mmap.PAGESIZE), flags=flags)
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(
                f"There are no {self.bytes} bytes of memory for an arena ({error}).", "Ask for less."
            ) from error
        self.view: npt.NDArray[np.uint8] = np.frombuffer(memory, np.uint8, slots * slot_bytes).reshape(
            slots, slot_bytes
        )
