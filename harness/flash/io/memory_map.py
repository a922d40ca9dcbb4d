"""Reading through a memory map, as a program does that maps its weights and trusts the kernel: a baseline."""

from __future__ import annotations

import contextlib
import errno
import mmap
from collections.abc import Iterator

import numpy as np

from harness.flash.io.arena import Arena
from harness.flash.io.geometry import Indices
from harness.flash.io.transfer import PieceFailed, Transfer


@contextlib.contextmanager
def reading(descriptor: int, arena: Arena, random: bool) -> Iterator[Transfer]:
    """A transfer that copies from the open file's map, one piece after the other: one page fault at a time is what a
    map gives. `random` tells the kernel not to read ahead.
    """
    memory = arena.view.reshape(-1)
    mapping = mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    mapping.madvise(mmap.MADV_RANDOM if random else mmap.MADV_NORMAL)
    file = np.frombuffer(mapping, np.uint8)

    def transfer(offsets: Indices, lengths: Indices, slots: Indices) -> None:
        beyond = np.flatnonzero(offsets > len(file) - lengths)
        if len(beyond):  # where a map raises no error but a signal
            raise PieceFailed(int(beyond[0]), errno.ENODATA)
        starts = slots * arena.slot_bytes
        for offset, length, start in zip(offsets.tolist(), lengths.tolist(), starts.tolist(), strict=True):
            memory[start : start + length] = file[offset : offset + length]

    yield transfer
