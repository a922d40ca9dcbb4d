"""The arena takes what it says, where O_DIRECT wants it, and no more than its budget."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UsageError
from harness.flash.io.arena import Arena


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE


def permissions(address: int) -> str:
    """Of the mapping that holds `address`: the last letter is p where it is private."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[1]
    raise LookupError(hex(address))


def test_slots_are_zero_writable_and_page_aligned() -> None:
    arena = Arena(3, 1536)
    assert arena.view.shape == (3, 1536)
    assert arena.view.dtype == np.uint8
    assert not arena.view.any()
    assert arena.view.ctypes.data % mmap.PAGESIZE == 0
    arena.view[2] = 7
    assert arena.view.reshape(-1)[2 * 1536 :].all()
    assert permissions(arena.view.ctypes.data) == "rw-p"


@pytest.mark.parametrize(("slots", "slot_bytes", "pages"), [(1, 512, 1), (8, 512, 1), (9, 512, 2), (3, 1 << 20, 768)])
def test_it_takes_whole_pages(slots: int, slot_bytes: int, pages: int) -> None:
    assert Arena(slots, slot_bytes).bytes == pages * mmap.PAGESIZE


def test_all_of_it_is_in_memory_before_the_first_read() -> None:
    size = 64 << 20
    before = resident_bytes()
    arena = Arena(64, 1 << 20)
    assert resident_bytes() - before >= 0.95 * size
    del arena
    assert resident_bytes() - before < 0.5 * size  # and it goes with its last view


def test_a_view_outlives_the_arena() -> None:
    arena = Arena(4, 4096)
    view = arena.view[1:]
    view[:] = 5
    del arena
    assert (view == 5).all()


def test_a_budget_is_kept_to_the_byte() -> None:
    needed = Arena(5, 16384).bytes
    assert Arena(5, 16384, budget_bytes=needed).bytes == needed
    with pytest.raises(UsageError, match=f"budget of {needed - 1} bytes is below the {needed} bytes that 5 slots"):
        Arena(5, 16384, budget_bytes=needed - 1)


def test_an_arena_of_nothing_is_allowed() -> None:
    assert Arena(0, 512, budget_bytes=0).view.shape == (0, 512)


@pytest.mark.parametrize("slots", [1 << 45, 1 << 62])
def test_memory_that_is_not_there_is_a_sentence(slots: int) -> None:
    with pytest.raises(UsageError, match="bytes of memory"):
        Arena(slots, 1 << 20)
