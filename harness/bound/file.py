"""A `.bound` file: the weights of a GPT, whole or cut, and what a token is computed with beside them.

Little-endian, without padding:

* `bound 1` and a line end; int32 vocabulary, context, width, layers, and 1 for ReLU (0: GELU);
* the table of tokens [vocabulary, width], which is the readout too, and that of positions [context, width];
* for each layer int32 heads, channels of a head's queries, of its values, neurons, and how many residual channels its
  attention and its feed-forward layer write (0: all); then, where it has heads, the norm [width], the matrices of
  queries (1 / sqrt() of the uncut head is in them), keys, values and output, and the channels written, int32, rising;
  and where it has neurons the norm, both matrices, and the channels written;
* the last norm [width].

A matrix [rows, columns] is int32 bits, 8, 4 or 32; but for 32 float32 steps [rows]; and the levels row by row: int8,
two of 4 bits in a byte, the first in its lower half, each row whole bytes; or float32. All sizes follow from these
numbers, so that a file has one right length. `native/bound.c` reads the same, and checks it again.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from harness.errors import ModelError

MAGIC = b"bound 1\n"
BITS = (4, 8, 32)
LARGEST = 1 << 16
"""Of any size: sums of so many products of 8 bits fit into 32."""
MOST_LAYERS = 1 << 10
_KINDS = {4: "int4", 8: "int8", 32: "float32"}
_AGAIN = "Build it again, or copy it again if it came from elsewhere."


@dataclass(frozen=True)
class BoundFile:
    """What a file says of itself. `weights`: how many of its matrices are of each kind."""

    vocabulary: int
    context: int
    width: int
    layers: int
    weights: dict[str, int]


@dataclass(frozen=True)
class Sizes:
    """Those of a layer, in the order of the file."""

    heads: int
    qk_dim: int
    v_dim: int
    neurons: int
    attention_rows: int
    ffn_rows: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of them."""
        return (self.heads, self.qk_dim, self.v_dim, self.neurons, self.attention_rows, self.ffn_rows)


def write_header(file: IO[bytes], vocabulary: int, context: int, width: int, layers: int, relu: bool) -> None:
    """What a file begins with."""
    file.write(MAGIC + struct.pack("<5i", vocabulary, context, width, layers, relu))


def write_sizes(file: IO[bytes], sizes: Sizes) -> None:
    """What a layer begins with."""
    file.write(struct.pack("<6i", *sizes.numbers))


def write_floats(file: IO[bytes], values: npt.NDArray[np.float32]) -> None:
    """A norm, or a matrix's steps."""
    file.write(np.ascontiguousarray(values, "<f4").tobytes())


def write_index(file: IO[bytes], rows: tuple[int, ...] | None) -> None:
    """The channels that a layer writes; nothing for all."""
    file.write(np.asarray(rows or (), "<i4").tobytes())


def write_floating(file: IO[bytes], weight: npt.NDArray[np.float32]) -> None:
    """A matrix in float32."""
    file.write(struct.pack("<i", 32))
    write_floats(file, weight)


def write_levels(file: IO[bytes], levels: npt.NDArray[np.int8], steps: npt.NDArray[np.float32], bits: int) -> None:
    """A matrix of integers [rows, columns] of 8 or 4 bits, and its steps [rows]."""
    file.write(struct.pack("<i", bits))
    write_floats(file, steps)
    if bits == 4:
        even = np.pad(levels, ((0, 0), (0, levels.shape[1] % 2))).view(np.uint8) & 15
        file.write((even[:, ::2] | even[:, 1::2] << 4).tobytes())
    else:
        file.write(np.ascontiguousarray(levels).tobytes())


def read_bound(path: Path) -> BoundFile:
    """What the file at `path` says of itself; of its weights nothing is read. Raises ModelError for one that is
    missing, no such file, cut short, or longer than it says.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file).whole()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    except ValueError as error:
        raise ModelError(f"{path} is no file of the bound, or damaged: {error}.", _AGAIN) from error


class _Reader:
    """Reads on from the begin of a file. Raises ValueError, half a sentence, for what no such file has."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, os.fstat(file.fileno()).st_size
        self._kinds = Counter[str]()

    def whole(self) -> BoundFile:
        if self._take(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin as such a file does")
        vocabulary, context, width, layers, relu = self._numbers(5)
        if not all(0 < size <= LARGEST for size in (vocabulary, context, width)):
            raise ValueError("a size of it is out of range")
        if not 0 <= layers <= MOST_LAYERS or relu not in (0, 1):
            raise ValueError("a size of it is out of range")
        for rows in (vocabulary, context):
            if self._matrix(rows, width) == 4:
                raise ValueError("a table of it is of 4 bits")
        for _ in range(layers):
            self._layer(width)
        self._pass(4 * width)
        if self._left:
            raise ValueError("there is more behind its end")
        return BoundFile(vocabulary, context, width, layers, dict(sorted(self._kinds.items())))

    def _layer(self, width: int) -> None:
        sizes = Sizes(*self._numbers(6))
        scores, mixed = sizes.heads * sizes.qk_dim, sizes.heads * sizes.v_dim
        if not all(0 <= size <= LARGEST for size in (*sizes.numbers, scores, mixed)):
            raise ValueError("a size of a layer is out of range")
        if max(sizes.attention_rows, sizes.ffn_rows) > width or (sizes.heads and not (scores and mixed)):
            raise ValueError("a size of a layer is out of range")
        if sizes.heads:
            self._pass(4 * width)
            bits = [self._matrix(rows, width) for rows in (scores, scores, mixed)]
            if len({each == 32 for each in bits}) > 1:
                raise ValueError("a layer is in integers in part")
            self._matrix(sizes.attention_rows or width, mixed)
            self._pass(4 * sizes.attention_rows)
        if sizes.neurons:
            self._pass(4 * width)
            self._matrix(sizes.neurons, width)
            self._matrix(sizes.ffn_rows or width, sizes.neurons)
            self._pass(4 * sizes.ffn_rows)

    def _matrix(self, rows: int, columns: int) -> int:
        (bits,) = self._numbers(1)
        if bits not in BITS:
            raise ValueError("the width of a weight is none that it can be")
        self._pass(rows * (4 * columns if bits == 32 else 4 + (columns * bits + 7) // 8))
        self._kinds[_KINDS[bits]] += 1
        return bits

    def _numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self._take(4 * count))

    def _take(self, size: int) -> bytes:
        taken = self._file.read(size) if size <= self._left else b""
        if len(taken) < size:
            raise ValueError("it is cut short")
        self._left -= size
        return taken

    def _pass(self, size: int) -> None:
        if size > self._left:
            raise ValueError("it is cut short")
        self._left -= size
        self._file.seek(size, os.SEEK_CUR)
