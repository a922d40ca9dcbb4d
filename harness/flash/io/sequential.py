"""A layer, or the rest of a file, from end to end: the reads, and where they go in an arena that may hold less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.flash.io.geometry import Geometry, Indices

# Large enough for any device's full bandwidth.
PIECE_BYTES = 1 << 20


class Block(NamedTuple):
    """What is read at once: `lengths` [r] bytes from `offsets` [r] to where arena slots `slots` [r] begin."""

    offsets: Indices
    lengths: Indices
    slots: Indices


def layer_blocks(file: Geometry, layer: int, arena_slots: int) -> Iterator[tuple[Indices, Block]]:
    """The neurons of a layer [n], as many at a time as the arena holds, and the reads of their rows. Raises ValueError
    for an arena that holds none.
    """
    most = arena_slots // file.reads_a_neuron
    if most < 1:
        raise ValueError("the arena has no room for a neuron")
    count = file.shape.neurons[layer]
    for first in range(0, count, most):
        neurons = np.arange(first, min(first + most, count))
        ups = file.layer_at(layer) + first * file.record_bytes
        stretches = [_stretch(file, ups, len(neurons), 0)]
        if file.form == "plain":
            stretches.append(_stretch(file, ups + count * file.record_bytes, len(neurons), len(neurons)))
        parts = ([getattr(stretch, name) for stretch in stretches] for name in ("offsets", "lengths", "slots"))
        yield neurons, Block(*(np.concatenate(part) for part in parts))


def rows_of(file: Geometry, neurons: int, view: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A view [neurons, 2, stride] of a block of so many neurons that was read into an arena's `view`."""
    records = view[: neurons * file.reads_a_neuron]
    if file.form == "bundled":
        return records.reshape(neurons, 2, file.stride)
    return records.reshape(2, neurons, file.stride).transpose(1, 0, 2)


def rest_blocks(file: Geometry, arena_slots: int) -> Iterator[Block]:
    """The reads of attention and all else, as much at a time as the arena holds."""
    slots = -(-(file.file_bytes - file.rest_at) // file.record_bytes)
    for first in range(0, slots, arena_slots):
        start = file.rest_at + first * file.record_bytes
        block = _stretch(file, start, min(arena_slots, slots - first), 0)
        block.lengths[-1] = min(block.lengths[-1], file.file_bytes - block.offsets[-1])
        yield block


def _stretch(file: Geometry, start: int, records: int, first_slot: int) -> Block:
    """Records one behind the other, into slots one behind the other, in pieces."""
    piece = max(1, PIECE_BYTES // file.record_bytes)
    begins = np.arange(0, records, piece)
    lengths = np.minimum(piece, records - begins) * file.record_bytes
    return Block(start + begins * file.record_bytes, lengths, first_slot + begins)
