"""Inputs of a model: given in a file, which must fit, or made, the same on every machine, going through all that the
model takes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from worker.driving import job

from harness.errors import UsageError
from harness.made_inputs import MOST_SETS, count_sets, covers, integer_ranges
from harness.protocol import Describe
from harness.worker.given_inputs import read_inputs
from harness.worker.inputs import make_inputs

FLOATS = {"kind": "tensor", "dtype": "float32", "sizes": [4, 8]}
TOKENS = {"kind": "tensor", "dtype": "int64", "sizes": [1, 7]}
NUMBER = {"kind": "int", "dtype": "none", "sizes": [], "value": 3, "fixed": True}
NOTHING = {"kind": "none", "dtype": "none", "sizes": []}


def describe(*inputs: dict[str, Any], **metadata: Any) -> Describe:
    forward = {"name": "forward", "inputs": list(inputs), "outputs": [{"dtype": "float32", "sizes": [1, 4]}]}
    return Describe(format="pte", methods=[forward], metadata=metadata, delegates=[])


def _given(folder: Path, inputs: list[dict[str, Any]], **arrays: np.ndarray) -> Any:
    np.savez(folder / "inputs.npz", **arrays)
    return read_inputs(folder / "inputs.npz", inputs)


# Given.


def test_given_arrays_are_taken_in_the_order_of_the_file(tmp_path: Path) -> None:
    tokens, floats = np.arange(7).reshape(1, 7), np.ones((4, 8), np.float32)
    first, second = _given(tmp_path, [TOKENS, FLOATS], z=tokens, a=floats)
    assert first.tolist() == tokens.tolist()
    assert second.tolist() == floats.tolist()


def test_arrays_with_the_names_of_the_inputs_may_stand_in_any_order(tmp_path: Path) -> None:
    inputs = [TOKENS | {"name": "ids"}, FLOATS | {"name": "image"}]
    tokens, floats = np.arange(7).reshape(1, 7), np.ones((4, 8), np.float32)
    first, second = _given(tmp_path, inputs, image=floats, ids=tokens)
    assert (first.tolist(), second.tolist()) == (tokens.tolist(), floats.tolist())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((4, 8)), "float64"),
        (np.ones((4, 8), np.int64), "int64"),
        (np.ones(32, np.float32), r"\[32\]"),
        (np.ones((4, 8, 1), np.float32), r"\[4, 8, 1\]"),
        (np.array([["a"]]), "cannot be read"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        _given(tmp_path, [FLOATS], x=array)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("dynamic", "fits"),
    [(False, {(4, 8)}), (True, {(4, 8), (2, 8), (4, 1)}), (["s0", None], {(4, 8), (2, 8), (9, 8)})],
    ids=["fixed sizes", "bounds", "a dynamic batch"],
)
def test_sizes_must_be_those_that_the_program_takes(tmp_path: Path, dynamic: Any, fits: set[tuple[int, int]]) -> None:
    for sizes in ((4, 8), (2, 8), (4, 1), (9, 8), (4, 9)):
        array = np.ones(sizes, np.float32)
        if sizes in fits:
            (taken,) = _given(tmp_path, [FLOATS | {"dynamic": dynamic}], x=array)
            assert tuple(taken.shape) == sizes
        else:
            with pytest.raises(UsageError, match="the model takes float32"):
                _given(tmp_path, [FLOATS | {"dynamic": dynamic}], x=array)


def test_numbers_are_arrays_without_dimensions_and_none_has_no_array(tmp_path: Path) -> None:
    floats, kinds = np.ones((4, 8), np.float32), [FLOATS, NUMBER, NOTHING, {**NUMBER, "kind": "bool", "fixed": False}]
    x, number, nothing, flag = _given(tmp_path, kinds, x=floats, n=np.int64(3), b=np.bool_(True))
    assert (x.shape, number, type(number), nothing, flag) == ((4, 8), 3, int, None, True)
    tenth = {**NUMBER, "kind": "float", "value": 0.1}
    assert _given(tmp_path, [FLOATS, tenth], x=floats, n=np.float32(0.1))[1] == 0.1
    with pytest.raises(UsageError, match="exported with 3 and takes no other"):
        _given(tmp_path, [FLOATS, NUMBER], x=floats, n=np.int64(4))
    with pytest.raises(UsageError, match="the model takes int"):
        _given(tmp_path, [FLOATS, NUMBER], x=floats, n=np.float32(2.5))
    with pytest.raises(UsageError, match="the model takes int"):
        _given(tmp_path, [FLOATS, NUMBER], x=floats, n=np.array([3, 3]))


def test_float32_of_numpy_is_rounded_to_what_numpy_lacks_and_to_nothing_else(tmp_path: Path) -> None:
    values = np.array([[1.0, 1.00390625, 3.14159]], np.float32)
    (taken,) = _given(tmp_path, [{**FLOATS, "dtype": "bfloat16", "sizes": [1, 3]}], x=values)
    assert taken.dtype == torch.bfloat16
    assert taken.tolist() == torch.from_numpy(values).to(torch.bfloat16).tolist()
    with pytest.raises(UsageError, match="the model takes float16"):
        _given(tmp_path, [{**FLOATS, "dtype": "float16", "sizes": [1, 3]}], x=values)


def test_safetensors_and_the_examples_of_a_pt2_are_taken_as_they_are(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor, n: int, *, bias: torch.Tensor) -> torch.Tensor:
            return x * n + bias

    half = torch.tensor([[1.5, -2.25]], dtype=torch.bfloat16)
    save_file({"x": half}, tmp_path / "in.safetensors")
    wants = {**FLOATS, "dtype": "bfloat16", "sizes": [1, 2]}
    (taken,) = read_inputs(tmp_path / "in.safetensors", [wants])
    assert taken.dtype == torch.bfloat16
    assert taken.equal(half)
    program = torch.export.export(Scaled(), (half, 3), {"bias": half})
    torch.export.save(program, tmp_path / "model.pt2")
    x, n, bias = read_inputs(tmp_path / "model.pt2", [wants, NUMBER, wants])
    assert (x.equal(half), n, bias.equal(half)) == (True, 3, True)


def test_too_few_and_too_many_arrays_are_refused_with_what_the_model_takes(tmp_path: Path) -> None:
    one = np.ones((4, 8), np.float32)
    with pytest.raises(UsageError, match="holds 1 arrays, the model takes 2") as caught:
        _given(tmp_path, [FLOATS, NUMBER], a=one)
    assert "float32 [4, 8]; int" in caught.value.hint
    with pytest.raises(UsageError, match="holds 2 arrays, the model takes 1"):
        _given(tmp_path, [FLOATS], a=one, b=one)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt2"])
def test_what_is_no_file_of_inputs_is_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_inputs(tmp_path / f"x{suffix}", [FLOATS])
    assert caught.value.hint


def test_a_damaged_npz_a_single_npy_and_another_format_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=np.ones((4, 8), np.float32))
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    data[60:80] = b"\xff" * 20
    (tmp_path / "damaged.npz").write_bytes(data)
    np.save(tmp_path / "single.npy", np.ones((4, 8), np.float32))
    for name in ("damaged.npz", "single.npy"):
        with pytest.raises(UsageError):
            read_inputs(tmp_path / name, [FLOATS])


# Made.


def test_made_inputs_have_the_declared_sizes_and_kinds_or_those_of_the_job() -> None:
    flags, scalar = {"dtype": "bool", "sizes": [4]}, {"dtype": "float32", "sizes": []}
    described = describe(FLOATS, TOKENS, flags, scalar, NUMBER, NOTHING)
    floats, tokens, booleans, single, number, nothing = make_inputs(job(), described, None)
    assert [list(each.shape) for each in (floats, tokens, booleans, single)] == [[4, 8], [1, 7], [4], []]
    assert [str(t.dtype) for t in (floats, tokens, booleans)] == ["torch.float32", "torch.int64", "torch.bool"]
    assert (number, nothing) == (3, None)
    assert abs(float(floats.mean())) < 0.6
    assert 0.6 < float(floats.std()) < 1.4
    resized = make_inputs(job(input_sizes=((3, 8), (1, 5), (4,), (), (), ())), described, None)
    assert [list(each.shape) for each in resized[:4]] == [[3, 8], [1, 5], [4], []]


def test_the_same_seed_and_number_make_the_same_inputs_and_others_make_others() -> None:
    described = describe(FLOATS, TOKENS)
    floats, tokens = make_inputs(job(), described, None, 0)
    again = make_inputs(job(), described, None, 0)
    assert floats.equal(again[0])
    assert tokens.equal(again[1])
    for other in (make_inputs(job(), described, None, 1), make_inputs(job(seed=5), described, None, 0)):
        assert not floats.equal(other[0])
        assert not tokens.equal(other[1])


@pytest.mark.parametrize(("limit", "length"), [(50, 7), (10, 400), ((1 << 20) + 1, 7)], ids=["few", "many", "wide"])
def test_equal_inputs_and_different_sets_are_made_of_other_integers(limit: int, length: int) -> None:
    """Each of the three ways in which integers are drawn."""
    tokens = {"kind": "tensor", "dtype": "int64", "sizes": [1, length], "limit": limit}
    made = [each for number in range(8) for each in make_inputs(job(), describe(tokens, tokens), None, number)]
    assert len({tuple(each.flatten().tolist()) for each in made}) == 16


def test_the_limits_of_the_job_hold_for_every_model_that_is_compared() -> None:
    described = describe(TOKENS | {"limit": 50}, TOKENS)
    for number in range(8):
        ids, mask = make_inputs(job(input_limits=(3, None)), described, None, number)
        assert set(ids.flatten().tolist()) == {0, 1, 2}
        assert set(mask.flatten().tolist()) == {0, 1}


def test_an_input_that_is_no_tensor_and_has_no_value_must_be_given() -> None:
    with pytest.raises(UsageError, match="Input 1 of the model is no tensor but an int") as caught:
        make_inputs(job(), describe(FLOATS, {"kind": "int", "dtype": "none", "sizes": []}), None)
    assert "--inputs" in caught.value.hint


@pytest.mark.parametrize(
    ("meta", "limit", "expected"),
    [
        ({"dtype": "bool", "sizes": [4]}, None, (0, 2)),
        ({"dtype": "uint8", "sizes": [4]}, None, (0, 256)),
        ({"dtype": "int8", "sizes": [4]}, None, (-128, 128)),
        ({"dtype": "uint16", "sizes": [4]}, None, (0, 65536)),
        ({"dtype": "int16", "sizes": [4]}, None, (-32768, 32768)),
        ({"dtype": "int64", "sizes": [4]}, None, (0, 256)),
        ({"dtype": "uint32", "sizes": [4]}, None, (0, 256)),
        ({"dtype": "int32", "sizes": [4]}, 1000, (0, 1000)),
        ({"dtype": "uint8", "sizes": [4]}, 10, (0, 10)),
        ({"dtype": "float32", "sizes": [4]}, None, None),
        ({"dtype": "none", "sizes": []}, None, None),
    ],
)
def test_the_range_of_integers_is_what_the_model_takes(meta: Any, limit: int | None, expected: Any) -> None:
    assert integer_ranges([meta], [limit]) == [expected]


def test_integers_of_unknown_meaning_beside_token_ids_are_a_mask() -> None:
    other = {"dtype": "int64", "sizes": [1, 3]}
    assert integer_ranges([TOKENS, TOKENS, other], [50, None, None]) == [(0, 50), (0, 2), (0, 256)]


def test_the_vocabulary_of_the_metadata_limits_token_ids_where_the_graph_does_not() -> None:
    values = [make_inputs(job(), describe(TOKENS, get_vocab_size=9), None, number)[0] for number in range(8)]
    assert set(torch.cat(values).flatten().tolist()) == set(range(9))
    known = describe(TOKENS | {"limit": 5}, get_vocab_size=9)
    assert int(torch.cat([make_inputs(job(), known, None, number)[0] for number in range(8)]).max()) == 4


DTYPES = st.sampled_from(["bool", "uint8", "int8", "int32", "int64"])


@settings(max_examples=40)
@given(DTYPES, st.lists(st.integers(1, 40), min_size=1, max_size=3), st.none() | st.integers(1, 300), st.integers(0, 9))
def test_made_integers_stay_within_their_range_and_cover_it(
    dtype: str, sizes: list[int], limit: int | None, seed: int
) -> None:
    meta = {"kind": "tensor", "dtype": dtype, "sizes": sizes} | ({} if limit is None else {"limit": limit})
    described = describe(meta)
    (interval,) = integer_ranges([meta], [limit])
    assert interval is not None
    sets = count_sets(described.methods[0], [sizes], [limit], None)
    made = torch.cat(
        [make_inputs(job(seed=seed), described, None, number)[0].flatten().to(torch.int64) for number in range(sets)]
    )
    assert interval[0] <= int(made.min())
    assert int(made.max()) < interval[1]
    everything = set(range(*interval)) if not (dtype == "bool" and limit) else {0, 1}
    assert set(made.tolist()) == everything
    assert covers([meta], [sizes], [limit], sets)
    assert sets == max(8, math.ceil((interval[1] - interval[0]) / math.prod(sizes)))
    if sets * math.prod(sizes) == len(everything):
        assert len(made) == len(everything), "each once"


@settings(max_examples=25)
@given(st.integers(2, 200), st.integers(1, 12), st.data())
def test_models_that_differ_in_one_row_of_an_embedding_are_told_apart(
    vocabulary: int, length: int, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, vocabulary - 1))
    table = torch.randn(vocabulary, 4, generator=torch.Generator().manual_seed(0))
    other = table.clone()
    other[row] += 1
    tokens = {"kind": "tensor", "dtype": "int64", "sizes": [1, length], "limit": vocabulary}
    described = describe(tokens)
    sets = count_sets(described.methods[0], [[1, length]], [vocabulary], None)
    seen = [make_inputs(job(), described, None, number)[0] for number in range(sets)]
    assert any(not torch.equal(table[ids].mean(1), other[ids].mean(1)) for ids in seen)


@settings(max_examples=25)
@given(st.integers(0, 255), st.integers(1, 400))
def test_models_that_differ_in_one_of_256_pixel_values_are_told_apart(value: int, pixels: int) -> None:
    table = torch.arange(256.0)
    other = table.clone()
    other[value] += 1
    image = {"kind": "tensor", "dtype": "uint8", "sizes": [1, pixels]}
    described = describe(image)
    sets = count_sets(described.methods[0], [[1, pixels]], [None], None)
    seen = [make_inputs(job(), described, None, number)[0].to(torch.int64) for number in range(sets)]
    assert any(not torch.equal(table[image], other[image]) for image in seen)


def test_a_range_below_zero_is_covered_too() -> None:
    bytes_ = {"kind": "tensor", "dtype": "int8", "sizes": [8]}
    described = describe(bytes_)
    sets = count_sets(described.methods[0], [[8]], [None], None)
    assert sets == 32
    assert covers([bytes_], [[8]], [None], 32)
    assert not covers([bytes_], [[8]], [None], 31)
    made = torch.cat([make_inputs(job(), described, None, number)[0] for number in range(sets)])
    assert sorted(made.tolist()) == list(range(-128, 128))


def test_more_inputs_than_anybody_would_wait_for_are_not_made() -> None:
    described = describe(TOKENS | {"limit": 1 << 17})
    method, sizes = described.methods[0], [[1, 7]]
    assert count_sets(method, sizes, [1 << 17], None) == MOST_SETS
    assert not covers(method["inputs"], sizes, [1 << 17], MOST_SETS)
    assert count_sets(method, sizes, [1000], 512) == 73, "as many as 512 tokens are"
    large = {**method, "outputs": [{"dtype": "float32", "sizes": [1, 3 << 20]}]}
    assert count_sets(large, sizes, [1 << 17], None) == 21, "256 MiB of outputs"
