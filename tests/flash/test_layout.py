"""What is written lies where the geometry says and comes back; a wrong read is seen."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurons_on_disk import SHAPE, made

from harness.errors import ModelError, UsageError
from harness.flash.io.encoding import decode, encode
from harness.flash.io.geometry import PAGE_BYTES, Geometry
from harness.flash.io.layout import Dtype, Form, NeuronFile, Shape, random_rows, write

pytestmark = pytest.mark.usefixtures("unsynced")

FORMS, DTYPES = get_args(Form), get_args(Dtype)
LEVELS = {"int8": 127, "int4": 7}

shapes = st.builds(
    Shape,
    st.integers(1, 700),
    st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any).map(tuple),
    st.integers(0, 3000),
)
geometries = st.builds(
    Geometry, shapes, st.sampled_from(FORMS), st.sampled_from(DTYPES), st.sampled_from([512, 1024, 4096, 8192])
)


def buffers(file: NeuronFile, layer: int, neurons: np.ndarray) -> np.ndarray:
    """What a reader brings into an arena, but by plain copies; neuron i of the list lives in slot i + 1."""
    raw = np.fromfile(file.path, np.uint8)
    arena = np.zeros((file.arena_slots(len(neurons) + 1), file.record_bytes), np.uint8)
    places = np.arange(1, len(neurons) + 1)
    reads = file.reads(layer, neurons)
    for offset, length, slot in zip(reads.offsets, reads.lengths, file.slots(places), strict=True):
        arena[slot, :length] = raw[offset : offset + length]
    return arena.reshape(-1, 2, file.stride)[places]


# What was written comes back.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 128, 129])
def test_weights_come_back_as_the_type_holds_them(tmp_path: Path, form: Form, dtype: Dtype, width: int) -> None:
    shape = Shape(width, (7, 0, 30), 1000)
    file, rows = made(tmp_path, form, dtype, shape), random_rows(shape, 1)
    for layer, neurons in ((0, np.array([6, 0, 3])), (2, np.array([29])), (1, np.array([], np.int64))):
        read = buffers(file, layer, neurons)
        file.check(layer, neurons, read)
        for came, went in zip(file.decode(layer, neurons, read), rows(layer), strict=True):
            went = went[neurons]
            assert came.dtype == np.float32
            assert came.shape == went.shape
            if dtype == "float16":
                np.testing.assert_array_equal(came, went.astype(np.float16))
            else:
                half_a_level = np.abs(went).max(axis=1, keepdims=True, initial=0) / LEVELS[dtype] / 2
                assert (np.abs(came - went) <= half_a_level * 1.0001).all()


@pytest.mark.parametrize(("dtype", "largest"), LEVELS.items())
def test_a_row_of_whole_levels_is_exact(dtype: Dtype, largest: int) -> None:
    rows = np.array([[largest, -largest, 1, 0, -3], [0, 0, 0, 0, 0], [2 * largest, 0, -2, 4, 6]], np.float32)
    codes, scales = encode(rows, dtype)
    np.testing.assert_array_equal(decode(codes, scales, dtype, 5), rows)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_rows_too_small_to_scale_become_zero_and_not_nan(dtype: Dtype) -> None:
    rows = np.full((1, 4), 1e-45, np.float32)
    assert not decode(*encode(rows, dtype), dtype, 4).any()


def test_the_rest_is_there_and_cannot_be_compressed(tmp_path: Path) -> None:
    file = made(tmp_path, shape=Shape(16, (2,), 3_000_001))
    rest = file.path.read_bytes()[file.rest_at :]
    assert 3_000_001 <= len(rest) == file.file_bytes - file.rest_at < 3_000_001 + file.align
    assert len(zlib.compress(rest, 1)) > 0.99 * len(rest)
    empty = made(tmp_path, shape=Shape(16, (2,)))
    assert empty.rest_at == empty.path.stat().st_size


# Where everything lies.


@given(geometries)
def test_records_are_aligned_and_apart_and_fill_the_file(geometry: Geometry) -> None:
    offsets = np.concatenate(
        [geometry.reads(layer, np.arange(count)).offsets for layer, count in enumerate(geometry.shape.neurons)]
    )
    assert not (offsets % geometry.align).any()
    ordered = np.sort(offsets)
    assert ordered[0] == geometry.records_at >= PAGE_BYTES + geometry.table_bytes
    assert (np.diff(ordered) == geometry.record_bytes).all()
    assert ordered[-1] + geometry.record_bytes == geometry.rest_at <= geometry.file_bytes
    assert geometry.stride >= geometry.row_bytes
    assert geometry.arena_slots(1) * geometry.record_bytes == 2 * geometry.stride


@given(geometries)
def test_neurons_in_different_slots_never_share_a_byte(geometry: Geometry) -> None:
    slots = geometry.slots(np.arange(9))
    assert sorted(slots) == list(range(geometry.arena_slots(9)))


def test_a_row_of_opt_6_7b_is_8_kib_and_its_bundle_16() -> None:
    plain, bundled = (Geometry(Shape(4096, (16384,)), form, "float16", 512) for form in FORMS)
    assert (plain.record_bytes, bundled.record_bytes) == (8192, 16384)
    assert (len(plain.reads(0, np.arange(3)).offsets), len(bundled.reads(0, np.arange(3)).offsets)) == (6, 3)
    assert bundled.records_at % PAGE_BYTES == 0
    assert bundled.rest_at - bundled.records_at == 268_435_456


@pytest.mark.parametrize("neurons", [[30], [-1], [0, 30]])
def test_a_neuron_that_the_layer_has_not_is_refused(neurons: list[int]) -> None:
    with pytest.raises(ValueError, match="0 to 29"):
        Geometry(SHAPE, "plain", "int8", 512).reads(2, np.array(neurons))


@pytest.mark.parametrize(
    ("shape", "form", "dtype", "align"),
    [
        (Shape(0, (1,)), "plain", "int8", 512),
        (Shape(4, ()), "plain", "int8", 512),
        (Shape(4, (0, 0)), "plain", "int8", 512),
        (Shape(4, (2, -1)), "plain", "int8", 512),
        (Shape(True, (2,)), "plain", "int8", 512),
        (Shape(4, (2,), -1), "plain", "int8", 512),
        (Shape(4, (2,)), "diagonal", "int8", 512),
        (Shape(4, (2,)), "plain", "float64", 512),
        (Shape(4, (2,)), "plain", "int8", 256),
        (Shape(4, (2,)), "plain", "int8", 768),
    ],
)
def test_impossible_dimensions_are_a_sentence(tmp_path: Path, shape: Shape, form: Any, dtype: Any, align: int) -> None:
    with pytest.raises(UsageError):
        write(tmp_path / "f", shape, form, dtype, random_rows(shape, 0), align)
    assert not list(tmp_path.iterdir())


def test_more_layers_than_the_header_holds_are_a_sentence(tmp_path: Path) -> None:
    shape = Shape(1, (1,) * 3000)
    with pytest.raises(UsageError, match="3000 layers"):
        write(tmp_path / "f", shape, "bundled", "int8", random_rows(shape, 0))
    assert not list(tmp_path.iterdir())


# A wrong read is seen.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("at", [0, 1, -1])
def test_one_flipped_bit_is_named(tmp_path: Path, form: Form, dtype: Dtype, at: int) -> None:
    file, neurons = made(tmp_path, form, dtype), np.array([2, 5, 4])
    read = buffers(file, 2, neurons)
    read[1].reshape(-1)[at] ^= 16  # the last byte is padding
    with pytest.raises(ModelError, match=r"Neuron 5 of layer 2 in .* is corrupted"):
        file.check(2, neurons, read)


def test_a_corrupted_neuron_in_the_file_is_named(tmp_path: Path) -> None:
    file = made(tmp_path)
    with file.path.open("r+b") as raw:
        raw.seek(file.reads(2, np.array([11])).offsets[0] + file.stride + 3)
        raw.write(b"\xff\x00\xff")
    again, everyone = NeuronFile.open(file.path), np.arange(30)  # to open it is to read its tables alone
    with pytest.raises(ModelError, match="Neuron 11 of layer 2"):
        again.check(2, everyone, buffers(again, 2, everyone))


def test_another_neuron_and_half_of_another_are_seen(tmp_path: Path) -> None:
    file = made(tmp_path)
    read = buffers(file, 0, np.array([3, 4]))
    with pytest.raises(ModelError, match="Neuron 4 of layer 0"):
        file.check(0, np.array([3, 4]), read[[0, 0]])
    with pytest.raises(ModelError, match="Neuron 3 of layer 2"):
        file.check(2, np.array([3, 4]), read)
    read[1, 1] = read[0, 1]
    with pytest.raises(ModelError, match="Neuron 4 of layer 0"):
        file.check(0, np.array([3, 4]), read)
