"""Measuring a device: random reads of several sizes, at several depths, in alternated rounds.

A round goes through all cells in an order drawn for it, the next one through the same order backwards, so that a drift
of the device falls on all cells alike. A cell's value is the median of its rounds; a round whose bytes the kernel did
not fetch from the device never counts.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from harness.atomic_files import unwritable
from harness.errors import HarnessError, UsageError
from harness.flash.device_model.throughput import Cell
from harness.flash.io.arena import Arena
from harness.flash.io.proof import Proof, check_storage, prove
from harness.flash.io.reader import Kind, Reader, open_reader
from harness.storage_reads import fetched_bytes

KIB = 1024
SIZES = tuple(kib * KIB for kib in (4, 8, 16, 32, 64, 128, 256, 1024))
DEPTHS = (1, 4, 16, 32)
ROUNDS = 31
SCRATCH_BYTES = 256 * 1024 * KIB

# Enough reads that the first and the last few, when fewer than `depth` are under way, weigh little; not so many that
# small ones take seconds.
_CELL_BYTES, _MOST_READS = 16 * 1024 * KIB, 512
_ALIGN = 4096  # a page: what no disk's sectors exceed


@dataclass(frozen=True)
class Sample:
    """A round of a cell: `reads` of `read_bytes` each at random places, `depth` at once. `kind` is what really read."""

    round: int
    kind: Kind
    read_bytes: int
    depth: int
    reads: int
    duration_ns: int
    proof: Proof

    @property
    def bytes_per_s(self) -> float:
        """Throughput of the whole batch."""
        return self.reads * self.read_bytes / self.duration_ns * 1e9


def sweep(
    path: Path,
    kind: Kind = "threads",
    sizes: Sequence[int] = SIZES,
    depths: Sequence[int] = DEPTHS,
    rounds: int = ROUNDS,
    seed: int = 0,
    announce: Callable[[str], None] = warnings.warn,
) -> Iterator[Sample]:
    """Measure reads of the file at `path`, one sample at a time, len(sizes) * len(depths) * rounds in all.

    `sizes` in bytes, multiples of 4096. Raises UsageError for a file too small for the largest cell, for sizes that are
    not aligned, and as `open_reader` does.
    """
    if odd := [size for size in sizes if size < 1 or size % _ALIGN]:
        raise UsageError(f"Reads of {odd[0]} bytes are not aligned.", f"Give multiples of {_ALIGN} bytes.")
    grid = [(size, depth) for size in sizes for depth in depths]
    largest = max(_reads(size, depth) * size for size, depth in grid)
    file_bytes = path.stat().st_size
    if file_bytes < 2 * largest:
        raise UsageError(
            f"{path} has {file_bytes} bytes; random reads need {2 * largest} to choose from.",
            "Name a larger file, or a folder to write one into.",
        )
    arena = Arena(-(-largest // _ALIGN), _ALIGN)
    generator = np.random.default_rng(seed)
    order = np.arange(len(grid))
    for number in range(rounds):
        order = order[::-1] if number % 2 else generator.permutation(len(grid))
        for cell in order:
            size, depth = grid[cell]
            reads = _reads(size, depth)
            places = generator.choice(file_bytes // size, reads + depth, replace=False).astype(np.int64) * size
            with open_reader(kind, path, arena, depth, announce) as reader:
                kind = reader.kind  # where another reads in its place, it does so in every cell: it is announced once
                # The first reads of new threads or a new ring pay for what comes only once.
                _read(reader, places[reads:], size)
                duration_ns, proof = _read(reader, places[:reads], size)
            yield Sample(number, kind, size, depth, reads, duration_ns, proof)


def cells(samples: Sequence[Sample]) -> tuple[list[Cell], list[str]]:
    """The median of the valid rounds of each cell, and a sentence for each cell that has no valid round."""
    valid_cells, refused = [], []
    for key in dict.fromkeys((sample.read_bytes, sample.depth) for sample in samples):
        of_cell = [sample for sample in samples if (sample.read_bytes, sample.depth) == key]
        valid = [sample.bytes_per_s for sample in of_cell if sample.proof.valid]
        if valid:
            valid_cells.append(Cell(*key, float(np.median(valid))))
        else:
            refused.append(f"Reads of {key[0]} bytes at depth {key[1]} are left out: {of_cell[0].proof.reason}.")
    return sorted(valid_cells, key=lambda cell: (cell.read_bytes, cell.depth)), refused


def unrest(samples: Sequence[Sample]) -> float:
    """By what factor the rounds of a cell typically differ from one another: the geometric standard deviation of the
    valid rounds, its median over the cells; 1 is a device in perfect peace, NaN none that was measured.
    """
    logs: dict[tuple[int, int], list[float]] = {}
    for sample in samples:
        if sample.proof.valid:
            logs.setdefault((sample.read_bytes, sample.depth), []).append(math.log(sample.bytes_per_s))
    return math.exp(np.median([np.std(rounds) for rounds in logs.values()])) if logs else math.nan


@contextlib.contextmanager
def readable(path: Path, size: int = SCRATCH_BYTES) -> Iterator[Path]:
    """`path` itself where it is a file; in a folder, a file of `size` random bytes for the time of the block.

    Raises UsageError where the path is neither or lies in memory, HarnessError where the disk has no room.
    """
    if not os.path.exists(path):
        raise UsageError(f"{path} does not exist.", "Name a file on the device, or a folder to write one into.")
    if not path.is_dir():
        yield path
        return
    check_storage(path / "scratch")
    try:
        descriptor, name = tempfile.mkstemp(prefix=".harness-flash-", dir=path)
    except OSError as error:
        raise unwritable(path, error, "Name a folder you may write to.", UsageError) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            _fill(file.fileno(), size, path)
        yield Path(name)
    finally:
        os.unlink(name)


def _read(reader: Reader, places: npt.NDArray[np.int64], size: int) -> tuple[int, Proof]:
    """Nanoseconds for reads of `size` bytes at `places` (bytes), and what the kernel says of them."""
    lengths = np.full(len(places), size, np.int64)
    slots = np.arange(len(places), dtype=np.int64) * (size // _ALIGN)
    before = fetched_bytes()
    start = perf_counter_ns()
    reader.read(places, lengths, slots)
    duration_ns = perf_counter_ns() - start
    return duration_ns, prove(before, fetched_bytes(), len(places) * size)


def _reads(size: int, depth: int) -> int:
    return max(2 * depth, min(_MOST_READS, _CELL_BYTES // size))


def _fill(descriptor: int, size: int, folder: Path) -> None:
    """Random bytes, on the device when this returns: a file of zeros might be stored as none."""
    generator = np.random.default_rng()
    try:
        for start in range(0, size, 1 << 24):
            os.write(descriptor, generator.bytes(min(1 << 24, size - start)))
        os.fsync(descriptor)
    except OSError as error:
        raise HarnessError(
            f"{folder} has no room for {size} bytes to read from ({error.strerror}).",
            "Free some, or name another folder.",
        ) from error
