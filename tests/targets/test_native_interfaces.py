"""The native worker on programs with interfaces of every kind: it answers as torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_requests import Worker, expected

from harness.protocol import Done, Io, Loaded


def _answers_as_torch(worker: Worker, programs: Path, name: str, **more: Any) -> None:
    inputs, outputs = expected(programs, name)
    found = worker.outputs(programs / f"{name}.pte", inputs, **more)
    assert found.keys() >= outputs.keys()
    for key, array in outputs.items():
        assert found[key].shape == array.shape, key
        np.testing.assert_allclose(found[key], array.astype(np.float64), rtol=1e-5, atol=1e-6)


KINDS = ["scalars", "raw", "wide", "zero", "recurrent", "looked_up", "quantized", "no_inputs", "constants"]


@pytest.mark.parametrize("name", KINDS)
def test_it_answers_as_torch_does(worker: Worker, programs: Path, name: str) -> None:
    _answers_as_torch(worker, programs, name)


@pytest.mark.parametrize("name", ["scalars", "raw", "zero", "recurrent", "quantized"])
def test_arm64_answers_as_torch_does(emulated: Worker, programs: Path, name: str) -> None:
    _answers_as_torch(emulated, programs, name)


def test_int8_of_pt2e_is_int8(programs: Path) -> None:
    """Else the test above would be one of the float model."""
    with np.load(programs / "quantized.npz") as file:
        assert 0 < np.abs(file["out0"] - file["exact"]).max() < 0.1


def test_outputs_that_are_no_tensors_are_arrays_of_one(worker: Worker, programs: Path) -> None:
    inputs, outputs = expected(programs, "says")
    found = worker.outputs(programs / "says.pte", inputs)
    assert found.keys() == {f"set0_output{number}" for number in range(4)}
    assert [found[f"set0_output{number}"].tolist() for number in (1, 3)] == [[7.0], [1.0]]
    assert found["set0_output2"].tolist() == [pytest.approx(float(outputs["set0_output2"]), rel=1e-12)]
    assert np.array_equal(found["set0_output0"], outputs["set0_output0"])


def test_numbers_beyond_those_of_float32_come_back_whole(worker: Worker, programs: Path) -> None:
    inputs, _ = expected(programs, "wide")
    found = worker.outputs(programs / "wide.pte", inputs)
    assert found["set0_output0"].tolist() == [1.0, 2.0**31 + 1]
    assert found["set0_output1"].tolist() == [3.0, 2.0**40 + 1]


def test_half_precision_is_read_and_written(worker: Worker, programs: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    halves = {"set0_arg0": torch.tensor([1.5, -2.25]).half(), "set0_arg1": torch.tensor([1.5, -2.25]).bfloat16()}
    save_file(halves, tmp_path / "halves.safetensors")
    found = worker.outputs(programs / "reduced.pte", tmp_path / "halves.safetensors")
    assert [found[f"set0_output{number}"].tolist() for number in range(4)] == [[3.0, -4.5]] * 2 + [[1.5, -2.25]] * 2


def test_every_set_of_inputs_is_asked_and_named(worker: Worker, programs: Path) -> None:
    inputs = {f"set{number}_arg0": np.array([number, 9, 4]) for number in range(3)}
    found = worker.outputs(programs / "looked_up.pte", inputs)
    assert found.keys() == {f"set{number}_output0" for number in range(3)}
    rows = [found[f"set{number}_output0"][0].tolist() for number in range(3)]
    assert len({tuple(row) for row in rows}) == 3
    assert np.array_equal(found["set0_output0"][1:], found["set2_output0"][1:])


def test_a_program_without_inputs_has_as_many_sets_as_others(worker: Worker, programs: Path) -> None:
    for inputs in (None, {}):
        found = worker.outputs(programs / "no_inputs.pte", inputs)
        assert found.keys() == {f"set{number}_output0" for number in range(8)}


def test_a_state_that_is_an_input_is_given_anew_every_time(worker: Worker, programs: Path) -> None:
    inputs, _ = expected(programs, "recurrent")
    again = {key.replace("set0", f"set{number}"): array for number in range(3) for key, array in inputs.items()}
    found = worker.outputs(programs / "recurrent.pte", again)
    for number in (1, 2):
        for output in range(3):
            assert np.array_equal(found[f"set{number}_output{output}"], found[f"set0_output{output}"])


def test_numbers_are_described_by_kind_and_value(worker: Worker, programs: Path) -> None:
    (forward,) = worker.description(programs / "scalars.pte").methods
    bare = {"dtype": "none", "sizes": []}
    assert forward["inputs"] == [
        {"kind": "tensor", "dtype": "float32", "sizes": [2, 3]},
        {"kind": "int", "value": 3} | bare,
        {"kind": "float", "value": 0.5} | bare,
        {"kind": "bool", "value": True} | bare,
        {"kind": "none"} | bare,
    ]
    (says,) = worker.description(programs / "says.pte").methods
    assert [output["kind"] for output in says["outputs"]][:2] == ["tensor", "int"]
    assert says["outputs"][3] == {"kind": "bool"} | bare
    (zero,) = worker.description(programs / "zero.pte").methods
    assert zero["inputs"][1] == {"kind": "tensor", "dtype": "float32", "sizes": []}
    (raw,) = worker.description(programs / "raw.pte").methods
    assert [given["dtype"] for given in raw["inputs"]] == ["uint8", "uint16"]
    (wide,) = worker.description(programs / "wide.pte").methods
    assert [given["dtype"] for given in wide["inputs"]] == ["uint32", "int64"]


def test_constants_that_are_tensors_are_described_by_their_numbers_or_by_their_shape(
    worker: Worker, programs: Path
) -> None:
    said = worker.description(programs / "constants.pte")
    assert said.metadata == {
        "get_mean": [[pytest.approx(0.1, rel=1e-6), 0.5], [0.25, 2.0]],
        "get_ids": [3, 2**40],
        "get_flags": [True, False],
        "get_one": 7.5,
        "get_picture": "float32 [3, 8, 8]",
        "get_most": list(range(64)),
        "get_too_many": "float32 [65]",
        "get_bounds": ["inf", "nan"],
        "get_epsilon": 1e-5,
        "get_name": "tiny",
    }
    assert [method["name"] for method in said.methods] == ["forward"]


def test_of_several_methods_the_named_one_is_run(worker: Worker, programs: Path) -> None:
    path = programs / "methods.pte"
    assert {method["name"] for method in worker.description(path).methods} == {"encode", "decode"}
    with np.load(programs / "methods.npz") as file:
        inputs = {"set0_arg0": file["in0"]}
        for method in ("encode", "decode"):
            found = worker.outputs(path, inputs, method=method)
            np.testing.assert_allclose(found["set0_output0"], file[method], rtol=1e-5, atol=1e-6)
    refused = worker.refusal(path, inputs)
    assert refused.kind == "usage"
    assert "decode, encode" in refused.message
    assert "--method" in refused.todo
    refused = worker.refusal(path, inputs, method="get_width")
    assert "'get_width'" in refused.message
    assert "only decode, encode" in refused.message


def test_a_program_of_constants_alone_is_refused_and_described(worker: Worker, programs: Path) -> None:
    refused = worker.refusal(programs / "constant.pte", {})
    assert refused.kind == "model"
    assert "no method that can be run, only constants (forward)" in refused.message
    said = worker.description(programs / "constant.pte")
    assert said.methods == []
    assert said.metadata == {"forward": [1.0, 2.0]}


@pytest.mark.parametrize("name", ["external", "external_xnnpack"])
def test_weights_beside_the_program(worker: Worker, programs: Path, name: str) -> None:
    path, data = programs / f"{name}.pte", programs / f"{name}.ptd"
    _answers_as_torch(worker, programs, name, data=data)
    inputs, _ = expected(programs, name)
    events, _ = worker.ask(path, inputs, data=data)
    assert isinstance(events[-1], Done), events[-1]
    both = path.stat().st_size + data.stat().st_size
    assert [event.program_bytes for event in events if isinstance(event, Loaded)] == [both]
    assert [event.asked_bytes for event in events if isinstance(event, Io)] == [both]
    refused = worker.refusal(path, inputs)
    assert refused.kind == "model"
    # The program says so of its own tensors; what a delegate looks for shows when it does not find it.
    said = "are not in it but in a .ptd file" if name == "external" else "data that it refers to was not found"
    assert said in refused.message
    assert ".ptd" in refused.message + refused.todo
    assert "--data-file" in refused.todo
    assert worker.description(path).methods[0]["inputs"][0]["sizes"] == [1, 64]


def test_arm64_takes_weights_beside_the_program(emulated: Worker, programs: Path) -> None:
    _answers_as_torch(emulated, programs, "external_xnnpack", data=programs / "external_xnnpack.ptd")


def test_a_wrong_or_damaged_file_of_weights_is_refused(worker: Worker, programs: Path, tmp_path: Path) -> None:
    path = programs / "external.pte"
    inputs, _ = expected(programs, "external")
    for other in ("external_xnnpack.ptd", "raw.pte"):
        refused = worker.refusal(path, inputs, data=programs / other)
        assert refused.kind == "model"
        assert "--data-file" in refused.todo
    whole = (programs / "external.ptd").read_bytes()
    for number, content in enumerate((whole[: len(whole) - 200], whole[:30], b"")):
        cut = tmp_path / f"cut{number}.ptd"
        cut.write_bytes(content)
        refused = worker.refusal(path, inputs, data=cut)
        assert cut.name in refused.message
    assert "cannot be read" in worker.refusal(path, inputs, data=tmp_path / "absent.ptd").message
