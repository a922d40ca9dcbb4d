"""Packed codes: what comes out is what went in, at the width it needs, and damage is noticed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ModelError, UsageError
from harness.models.compress.codes import Code
from harness.models.compress.packing import pack, unpack


def code_of(levels: np.ndarray, groups: int = 1, seed: int = 0) -> Code:
    generator = np.random.default_rng(seed)
    size = (levels.shape[0], groups)
    exponents = generator.uniform(-9, -2, size).astype(np.float16)
    bits = generator.integers(0, 128, size) / 16
    return Code(*(torch.from_numpy(part) for part in (levels.astype(np.int8), exponents, bits.astype(np.float16))))


@st.composite
def codes(draw: st.DrawFn) -> Code:
    """Rows of every width from 0 to 8 bits, odd shapes, dead rows and columns, one group or several."""
    groups = draw(st.sampled_from([1, 1, 3]))
    rows, columns = draw(st.integers(1, 12)), groups * draw(st.integers(1, 11))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = np.zeros((rows, columns), dtype=np.int64)
    for row in range(rows):
        width = draw(st.integers(0, 8))
        low = draw(st.integers(-128, 128 - 2**width))
        levels[row] = generator.integers(low, low + 2**width, columns)
    levels[draw(st.lists(st.integers(0, rows - 1), max_size=3))] = 0
    levels[:, draw(st.lists(st.integers(0, columns - 1), max_size=3))] = 0
    return code_of(levels, groups)


@given(codes(), st.booleans())
@settings(max_examples=150)
def test_what_is_unpacked_is_what_was_packed(code: Code, entropy_coded: bool) -> None:
    if entropy_coded:
        pytest.importorskip("constriction")
    found = unpack(pack(code, entropy_coded), tuple(code.levels.shape))
    assert torch.equal(found.levels, code.levels)
    assert torch.equal(found.weight(), code.weight())
    assert torch.equal(found.bits, code.bits)


def test_a_row_takes_the_width_of_its_range_and_dead_channels_nothing() -> None:
    levels = np.zeros((4, 16), dtype=np.int64)
    levels[0, :8] = [-1, 0, 1, 0, 1, 0, -1, 0]  # three levels, 2 bits
    levels[1, :8] = [0, 1, 0, 1, 1, 1, 0, 0]  # two levels, 1 bit
    levels[2, :8] = 5  # one level, no bits
    parts = pack(code_of(levels))
    assert parts["codes"].numel() == (8 * 2 + 8 * 1) // 8
    assert parts["range"].tolist() == [[-1, 1], [0, 1], [5, 5]]
    assert parts["exponents"].shape == (3, 1)


def test_entropy_coding_approaches_the_entropy() -> None:
    pytest.importorskip("constriction")
    generator = np.random.default_rng(0)
    levels = generator.choice([-1, 0, 1], size=(100, 4096), p=[0.05, 0.9, 0.05])
    plain, coded = (pack(code_of(levels), entropy)["codes"].nbytes for entropy in (False, True))
    assert plain == 100 * 4096 * 2 // 8
    entropy_bytes = 100 * 4096 * 0.569 / 8  # -(0.9 log2 0.9 + 0.1 log2 0.05) bits per weight
    assert coded == pytest.approx(entropy_bytes, rel=0.05)


def test_everything_dead_is_nothing() -> None:
    for entropy_coded in (False, True):
        if entropy_coded:
            pytest.importorskip("constriction")
        parts = pack(code_of(np.zeros((3, 5))), entropy_coded)
        assert parts["codes"].numel() == 0
        assert not unpack(parts, (3, 5)).levels.any()


@pytest.mark.parametrize("part", ["rows", "columns", "range", "exponents", "bits", "codes"])
def test_parts_that_do_not_fit_are_refused(part: str) -> None:
    levels = np.random.default_rng(1).integers(-4, 4, (20, 30))
    parts = pack(code_of(levels))
    for damaged in (parts | {part: parts[part][:-1]}, {name: t for name, t in parts.items() if name != part}):
        with pytest.raises(ModelError, match="damaged"):
            unpack(damaged, (20, 30))
    with pytest.raises(ModelError, match="damaged"):
        unpack(parts, (21, 300))


def test_a_damaged_stream_is_refused() -> None:
    pytest.importorskip("constriction")
    levels = np.random.default_rng(1).integers(-4, 4, (20, 30))
    parts = pack(code_of(levels), entropy_coded=True)
    other = pack(code_of(levels[::-1].copy()), entropy_coded=True)
    for damaged in (
        parts | {"codes": parts["codes"][:-1]},
        parts | {"codes": parts["codes"] ^ 1},
        parts | {"shares": other["shares"]},
        parts | {"shares": parts["shares"][1:]},
    ):
        with pytest.raises(ModelError, match="damaged"):
            unpack(damaged, (20, 30))


def test_entropy_coded_weights_say_which_library_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("constriction")
    parts = pack(code_of(np.ones((2, 3)) * [0, 1, 2]), entropy_coded=True)
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(UsageError, match=r"edge-harness\[entropy\]"):
        unpack(parts, (2, 3))
    with pytest.raises(UsageError, match=r"edge-harness\[entropy\]"):
        pack(code_of(np.ones((2, 3)) * [0, 1, 2]), entropy_coded=True)
