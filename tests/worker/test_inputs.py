"""Inputs of a model: given as `.npz`, which must fit, or made up, the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker.driving import job

from harness.errors import UsageError
from harness.worker.inputs import make_inputs

FLOATS = {"dtype": "float32", "sizes": [4, 8]}
TOKENS = {"dtype": "int64", "sizes": [1, 7]}


def _given(path: Path, metadata: list[dict[str, Any]], **arrays: np.ndarray) -> Any:
    np.savez(path / "inputs.npz", **arrays)
    return make_inputs(job(), metadata, str(path / "inputs.npz"), 0)


def test_given_arrays_are_taken_in_the_order_of_the_file(tmp_path: Path) -> None:
    tokens, floats = np.arange(5).reshape(1, 5), np.ones((2, 8), np.float32)
    first, second = _given(tmp_path, [TOKENS, FLOATS], z=tokens, a=floats)
    assert first.tolist() == tokens.tolist()
    assert second.tolist() == floats.tolist()


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
    assert caught.value.todo


def test_too_few_and_too_many_arrays_are_refused(tmp_path: Path) -> None:
    one = np.ones((4, 8), np.float32)
    with pytest.raises(UsageError, match="holds 1 arrays, the model takes 2"):
        _given(tmp_path, [FLOATS, FLOATS], a=one)
    with pytest.raises(UsageError, match="holds 2 arrays, the model takes 1"):
        _given(tmp_path, [FLOATS], a=one, b=one)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04 cut short"])
def test_what_is_no_npz_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read"):
        make_inputs(job(), [FLOATS], str(tmp_path / "x.npz"), 0)


def test_a_damaged_npz_and_a_single_npy_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=np.ones((4, 8), np.float32))
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    data[60:80] = b"\xff" * 20
    (tmp_path / "damaged.npz").write_bytes(data)
    np.save(tmp_path / "single.npy", np.ones((4, 8), np.float32))
    for name in ("damaged.npz", "single.npy"):
        with pytest.raises(UsageError):
            make_inputs(job(), [FLOATS], str(tmp_path / name), 0)


def test_made_inputs_have_the_batch_of_the_job_and_the_declared_kinds() -> None:
    flags, scalar = {"dtype": "bool", "sizes": [4]}, {"dtype": "float32", "sizes": []}
    floats, tokens, booleans, single = make_inputs(job(batch=3), [FLOATS, TOKENS, flags, scalar], None, 0)
    assert (list(floats.shape), list(tokens.shape), list(booleans.shape), list(single.shape)) == (
        [3, 8],
        [3, 7],
        [3],
        [],
    )
    assert [str(t.dtype) for t in (floats, tokens, booleans)] == ["torch.float32", "torch.int64", "torch.bool"]
    assert set(tokens.flatten().tolist()) <= {0, 1}
    again, *_ = make_inputs(job(batch=3), [FLOATS], None, 0)
    other, *_ = make_inputs(job(batch=3), [FLOATS], None, 1)
    assert floats.equal(again)
    assert not floats.equal(other)


def test_an_input_that_is_no_tensor_must_be_given() -> None:
    with pytest.raises(UsageError, match="Input 1 of the model is no tensor"):
        make_inputs(job(), [FLOATS, {"dtype": "none", "sizes": []}], None, 0)
