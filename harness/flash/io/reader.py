"""Reading a list of pieces of a file into an arena: one interface for all ways of doing it.

`threads` (Python), `pread` and `uring` (C) pass by the page cache with O_DIRECT and keep `depth` reads in flight.
Baselines that go through the page cache: `buffered`, the same threads; `mmap` and `mmap-random`, one page fault at a
time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from harness.errors import HarnessError, ModelError, UsageError
from harness.flash.io import c_backend, memory_map, threads
from harness.flash.io.arena import Arena
from harness.flash.io.geometry import Indices
from harness.flash.io.proof import check_storage
from harness.flash.io.transfer import PieceFailed, Transfer
from harness.flash.names import DIRECT as DIRECT
from harness.flash.names import KINDS as KINDS
from harness.flash.names import Kind as Kind

_DEPTH_LIMIT = 1024
# Where a kind cannot be had, the next best one that passes by the page cache too.
_FALLBACK: dict[Kind, Kind] = {"uring": "pread", "pread": "threads"}


class Reader:
    """`open_reader` makes one. `kind` is what really reads, which after an announced fallback is not what was asked
    for.
    """

    def __init__(self, kind: Kind, path: Path, arena: Arena, transfer: Transfer) -> None:
        self.kind = kind
        self._path, self._arena, self._transfer = path, arena, transfer
        self._one_at_a_time = threading.Lock()

    def read(self, offsets: Indices, lengths: Indices, slots: Indices) -> int:
        """Read `lengths` [r] bytes from `offsets` [r] to where `slots` [r] begin in the arena; a piece longer than a
        slot goes on in those that follow. Gives the bytes read, when all are there.

        Raises HarnessError when the device fails or the file ended early; what the arena then holds is undefined.
        Raises ValueError for pieces that are not int64, or not within the arena.
        """
        offsets, lengths, slots = _checked(offsets, lengths, slots, self._arena)
        if not len(offsets):
            return 0
        with self._one_at_a_time:
            try:
                self._transfer(offsets, lengths, slots)
            except PieceFailed as failure:
                where = f"{lengths[failure.index]} bytes at offset {offsets[failure.index]} of {self._path}"
                raise _explained(where, failure.error_number) from failure
        return int(lengths.sum())

    def close(self) -> None:
        """From here on `read` raises ValueError: what it read with is gone."""
        with self._one_at_a_time:
            self._transfer = _closed


@contextlib.contextmanager
def open_reader(
    kind: Kind, path: Path, arena: Arena, depth: int, announce: Callable[[str], None] = warnings.warn
) -> Iterator[Reader]:
    """A reader of `path` into `arena` for the time of the block, with `depth` reads in flight where the kind has a
    depth.

    `announce` gets a sentence where `kind` cannot be had and another reads in its place. Raises UsageError where the
    file lies in memory, where its file system has no O_DIRECT, or for a depth out of range; ModelError for a missing
    file.
    """
    if not 1 <= depth <= _DEPTH_LIMIT:
        raise UsageError(f"A depth of {depth} reads is out of range.", f"Give 1 to {_DEPTH_LIMIT}.")
    check_storage(path, direct=kind in DIRECT)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(path, os.O_RDONLY | (os.O_DIRECT if kind in DIRECT else 0))
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}).", "Name a file you may read.") from error
        stack.callback(os.close, descriptor)
        if not os.fstat(descriptor).st_size:
            raise ModelError(f"{path} is empty.", "Write it with `harness flash write`.")
        while True:
            try:
                transfer = stack.enter_context(_way(kind, descriptor, arena, depth))
                break
            except c_backend.Unavailable as why:
                announce(f"{kind} cannot read here, since {why}: {_FALLBACK[kind]} reads in its place.")
                kind = _FALLBACK[kind]
        reader = Reader(kind, path, arena, transfer)
        stack.callback(reader.close)
        yield reader


def _way(kind: Kind, descriptor: int, arena: Arena, depth: int) -> AbstractContextManager[Transfer]:
    match kind:
        case "threads" | "buffered":
            return threads.reading(descriptor, arena, depth, together=kind == "threads")
        case "pread":
            return c_backend.pool(descriptor, arena, depth)
        case "uring":
            return c_backend.ring(descriptor, arena, depth)
        case "mmap" | "mmap-random":
            return memory_map.reading(descriptor, arena, random=kind == "mmap-random")


def _checked(offsets: Indices, lengths: Indices, slots: Indices, arena: Arena) -> tuple[Indices, Indices, Indices]:
    """The three as the C backend needs them: it writes to any address that it is given."""
    offsets, lengths, slots = (np.ascontiguousarray(part) for part in (offsets, lengths, slots))
    if not all(part.dtype == np.int64 and part.shape == (len(offsets),) for part in (offsets, lengths, slots)):
        raise ValueError("offsets, lengths and slots must be int64 of one length")
    if len(offsets) and (
        min(offsets.min(), slots.min()) < 0
        or lengths.min() < 1
        or slots.max() >= arena.slots  # before the product, which could overflow
        or lengths.max() > arena.view.nbytes
        or (slots * arena.slot_bytes + lengths).max() > arena.view.nbytes
    ):
        raise ValueError(f"a piece lies outside the arena of {arena.slots} slots of {arena.slot_bytes} bytes")
    return offsets, lengths, slots


def _explained(where: str, error_number: int) -> HarnessError:
    if error_number == errno.ENODATA:
        return ModelError(f"There are no {where}: the file ended early.", "Write it again with `harness flash write`.")
    if error_number == errno.EINVAL:
        return UsageError(
            f"The disk refuses to read {where} past the page cache.", "Write the file again with a larger --align."
        )
    return HarnessError(
        f"{where} cannot be read ({os.strerror(error_number)}).", "Look after the disk, or use another."
    )


def _closed(offsets: Indices, lengths: Indices, slots: Indices) -> None:
    raise ValueError("the reader is closed")
