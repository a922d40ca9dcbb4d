"""What the native worker refuses: the cause in the model's terms, and something that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from native_requests import Worker, expected

from harness.protocol import Done


def test_an_operator_that_is_not_linked_is_named(worker: Worker, programs: Path, tmp_path: Path) -> None:
    refused = worker.refusal(programs / "llama.pte", {})
    assert refused.kind == "model"
    assert "the operator llama::custom_sdpa.out," in refused.message
    assert "--runtime python" in refused.todo
    assert "use_sdpa_with_kv_cache" in refused.todo
    whole = (programs / "zero.pte").read_bytes()
    assert whole.count(b"aten::mul\0") == 1
    path = tmp_path / "own.pte"
    path.write_bytes(whole.replace(b"aten::mul\0", b"mine::mul\0"))
    refused = worker.refusal(path, expected(programs, "zero")[0])
    assert "the operator mine::mul.out," in refused.message
    assert "llama" not in refused.todo
    assert "sdpa" not in refused.todo


def test_inputs_that_do_not_fit_are_named(worker: Worker, programs: Path) -> None:
    path = programs / "recurrent.pte"
    good, _ = expected(programs, "recurrent")
    for changed, words in (
        ({"set0_arg1": good["set0_arg1"].astype(np.float64)}, "Input 1 is float64 [2, 1, 16], the model takes float32"),
        ({"set0_arg1": good["set0_arg1"][0]}, "Input 1 is float32 [1, 16], the model takes float32 [2, 1, 16]"),
        ({"set0_arg0": good["set0_arg0"][:, :3]}, "Input 0 is float32 [1, 3, 8], the model takes float32 [1, 5, 8]."),
        ({"set0_arg2": np.concatenate([good["set0_arg2"]] * 2, 1)}, "Input 2 is float32 [2, 2, 16], the model takes"),
    ):
        refused = worker.refusal(path, good | changed)
        assert refused.kind == "usage"
        assert words in refused.message
        assert "--inputs" in refused.todo
    del good["set0_arg1"]
    assert "Input 1 of the model is missing" in worker.refusal(path, good).message


def test_a_number_other_than_the_exported_is_refused_by_both(worker: Worker, programs: Path) -> None:
    path = programs / "scalars.pte"
    good, _ = expected(programs, "scalars")
    for name, value, words in (
        ("set0_arg1", np.int64(4), "Input 1 is 4, but the program was exported for 3"),
        ("set0_arg2", np.float64(1.5), "Input 2 is 1.5, but the program was exported for 0.5"),
        ("set0_arg3", np.bool_(False), "Input 3 is false, but the program was exported for true"),
        ("set0_arg1", np.array([3, 3]), "Input 1 is a number, it was given int64 [2]"),
        ("set0_arg4", np.float32(1), "Input 4 was None"),
    ):
        refused = worker.refusal(path, good | {name: value})
        assert refused.kind == "usage"
        assert words in refused.message
    assert isinstance(worker.ask(path, {"set0_arg0": good["set0_arg0"]})[0][-1], Done), (
        "their values are in the program"
    )


@pytest.mark.parametrize("given", [None, "0" * 64])
def test_a_failure_on_made_inputs_says_that_they_were_made(worker: Worker, programs: Path, given: str | None) -> None:
    inputs = {"set0_arg0": np.array([1, 77, 4])}
    refused = worker.refusal(programs / "looked_up.pte", inputs, inputs_sha256=given)
    assert "77" in refused.message, "ExecuTorch's own words"
    assert "an argument that an operator or the method does not take" in refused.message
    assert ("made by harness" in refused.todo) == (given is None)
    assert ("--inputs" in refused.todo) == (given is None)


def test_a_dtype_without_a_kernel_is_named(worker: Worker, programs: Path) -> None:
    refused = worker.refusal(programs / "converted.pte", expected(programs, "converted")[0])
    assert "Unhandled dtype UInt16" in refused.message
    assert "dtype" in refused.todo
    assert "--inputs" not in refused.todo


def test_an_array_of_a_dtype_that_is_never_taken_is_named(worker: Worker, programs: Path) -> None:
    refused = worker.refusal(programs / "looked_up.pte", {"set0_arg0": np.array([1, 2, 3], dtype=np.complex64)})
    assert refused.kind == "usage"
    assert "set0_arg0" in refused.message
