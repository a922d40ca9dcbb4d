"""Where each neuron of a model lies in a file of its feed-forward weights: arithmetic alone, no file is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.flash.io import encoding
from harness.flash.names import Dtype as Dtype
from harness.flash.names import Form as Form

Indices = npt.NDArray[np.int64]

# The header's page. Records begin at a page even where `align` is smaller, lest a bundle straddle one page more.
PAGE_BYTES = 4096


@dataclass(frozen=True)
class Shape:
    """`width` of the model, `neurons` of each feed-forward layer (shrunk models differ by layer), and the bytes of
    attention and all else, which are read every token where nothing of it stays in DRAM.
    """

    width: int
    neurons: tuple[int, ...]
    rest_bytes: int = 0


@dataclass(frozen=True)
class Reads:
    """What to ask of a reader: `offsets` and `lengths` int64 [r], both in bytes."""

    offsets: Indices
    lengths: Indices


@dataclass(frozen=True)
class Geometry:
    """A file's dimensions and what follows from them. Raises UsageError for those that no file can have."""

    shape: Shape
    form: Form
    dtype: Dtype
    align: int

    def __post_init__(self) -> None:
        counts = (self.shape.width, *self.shape.neurons, self.shape.rest_bytes, self.align)
        all_counts = all(type(count) is int and count >= 0 for count in counts)
        if not all_counts or self.shape.width * sum(self.shape.neurons) == 0:
            raise UsageError(
                "A neuron file needs a width and at least one neuron.", "Give whole numbers, none of them negative."
            )
        if self.form not in get_args(Form) or self.dtype not in get_args(Dtype):
            raise UsageError(
                f"There is no {self.form!r} form of {self.dtype!r} weights.",
                f"Forms are {', '.join(get_args(Form))}; weights are {', '.join(get_args(Dtype))}.",
            )
        if self.align < 512 or self.align & (self.align - 1):
            raise UsageError(
                f"Records cannot be aligned to {self.align} bytes.", "Give a power of two that is 512 or more."
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's weights."""
        return encoding.row_bytes(self.dtype, self.shape.width)

    @property
    def reads_a_neuron(self) -> int:
        """1 bundled, 2 plain."""
        return 1 if self.form == "bundled" else 2

    @property
    def record_bytes(self) -> int:
        """Bytes of one read, a bundle or a row with its padding; also the size of an arena's slots."""
        return _round_up(2 * self.row_bytes // self.reads_a_neuron, self.align)

    @property
    def stride(self) -> int:
        """Bytes from a neuron's up row to its down row in a buffer; a neuron takes twice that in DRAM."""
        return self.record_bytes * self.reads_a_neuron // 2

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables, which stay in DRAM."""
        return sum(self.shape.neurons) * 2 * (4 if self.dtype == "float16" else 8)

    @property
    def records_at(self) -> int:
        """Offset of the first record."""
        return _round_up(PAGE_BYTES + self.table_bytes, max(self.align, PAGE_BYTES))

    @property
    def rest_at(self) -> int:
        """Offset of the rest, behind the records."""
        return self.layer_at(len(self.shape.neurons))

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return self.rest_at + _round_up(self.shape.rest_bytes, self.align)

    def layer_at(self, layer: int) -> int:
        """Offset of a layer's first record."""
        return self.records_at + sum(self.shape.neurons[:layer]) * 2 * self.stride

    def arena_slots(self, neurons: int) -> int:
        """Arena slots of `record_bytes` that `neurons` neurons take."""
        return neurons * self.reads_a_neuron

    def slots(self, neuron_slots: Indices) -> Indices:
        """The arena slots [r], in the order of `reads`, of neurons that live in `neuron_slots` [n]: those of 2 x
        `stride` bytes, as `arena.view.reshape(-1, 2, stride)` has them.
        """
        if self.form == "bundled":
            return neuron_slots
        return np.concatenate([2 * neuron_slots, 2 * neuron_slots + 1])

    def reads(self, layer: int, neurons: Indices) -> Reads:
        """The reads of `neurons` [n] of a layer: bundled n, plain 2n, all ups and then all downs. Raises ValueError for
        a neuron that the layer has not.
        """
        count = self.shape.neurons[layer]
        if len(neurons) and not 0 <= neurons.min() <= neurons.max() < count:
            raise ValueError(f"layer {layer} has neurons 0 to {count - 1}")
        offsets = self.layer_at(layer) + neurons * self.record_bytes
        if self.form == "plain":
            offsets = np.concatenate([offsets, offsets + count * self.stride])
        return Reads(offsets, np.full(len(offsets), self.record_bytes, np.int64))


def _round_up(size: int, to: int) -> int:
    return -(-size // to) * to
