"""From end to end: every byte once, nothing beyond the arena."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.neurons import rows_of_layer
from hypothesis import given
from hypothesis import strategies as st

from harness.flash.io import sequential
from harness.flash.io.geometry import Geometry, Shape
from harness.flash.io.sequential import Block, layer_blocks, rest_blocks, rows_of

geometries = st.builds(
    lambda width, neurons, rest, form: Geometry(Shape(width, tuple(neurons), rest), form, "float16", 512),
    st.integers(1, 700),
    st.lists(st.integers(1, 30), min_size=1, max_size=3),
    st.integers(0, 20_000),
    st.sampled_from(["plain", "bundled"]),
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces():  # type: ignore[no-untyped-def]
    """Pieces of two small records, so that blocks of a few neurons are several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential, "PIECE_BYTES", 2048)
        yield


def fetch(content: np.ndarray, file: Geometry, block: Block, slots: int) -> np.ndarray:
    """An arena [slots, record_bytes] after the block was read from a file of that content; zero where nothing went."""
    arena = np.zeros(slots * file.record_bytes, np.uint32)
    for offset, length, slot in zip(*(part.tolist() for part in block), strict=True):
        assert length % 512 == offset % 512 == 0  # as O_DIRECT wants it
        start = slot * file.record_bytes
        assert start + length <= len(arena)
        assert not arena[start : start + length].any()  # nothing is read over something else
        arena[start : start + length] = content[offset : offset + length]
    return arena.reshape(slots, file.record_bytes)


@given(geometries, st.data())
def test_every_row_of_a_layer_is_where_its_neuron_is_looked_for(file: Geometry, data: st.DataObject) -> None:
    layer = data.draw(st.integers(0, len(file.shape.neurons) - 1))
    slots = data.draw(st.integers(file.reads_a_neuron, 70))
    content = np.arange(1, file.file_bytes + 1, dtype=np.uint32)  # each byte says where it came from
    expected, seen = rows_of_layer(content, file, layer), []
    for neurons, block in layer_blocks(file, layer, slots):
        rows = rows_of(file, len(neurons), fetch(content, file, block, slots))
        assert np.array_equal(rows, expected[neurons])
        seen += neurons.tolist()
    assert seen == list(range(file.shape.neurons[layer]))


@given(geometries, st.integers(1, 20))
def test_every_byte_of_the_rest_is_read_once(file: Geometry, slots: int) -> None:
    content = np.arange(1, file.file_bytes + 1, dtype=np.uint32)
    arenas = [fetch(content, file, block, slots).ravel() for block in rest_blocks(file, slots)]
    covered = np.concatenate([np.empty(0, np.uint32), *arenas])
    assert np.array_equal(covered[covered > 0], content[file.rest_at :])


def test_an_arena_without_room_for_a_neuron_is_refused() -> None:
    with pytest.raises(ValueError, match="no room for a neuron"):
        next(layer_blocks(Geometry(Shape(4, (2,)), "plain", "float16", 512), 0, 1))
