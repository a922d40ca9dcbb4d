"""The Python worker on programs of every kind: inputs, conventions and files, with the outputs that torch computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interfaces_on_disk import make_interfaces
from language_on_disk import CONVENTIONS
from llama_on_disk import make_llama
from worker.driving import Said, job
from worker.driving import run_forked as run

from harness.protocol import Answer, Describe, Error, Io, Loaded, Output, Scalar, decode


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_interfaces(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_llama(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _inputs(programs: Path, name: str, folder: Path) -> Path:
    arrays = _arrays(programs / f"{name}.npz")
    np.savez(folder / "given.npz", **{key: value for key, value in arrays.items() if key.startswith("in")})
    return folder / "given.npz"


def _outputs(said: Said) -> dict[str, Any]:
    return _arrays(Path(said.one(Output).file))


KINDS = [
    "scalars",
    "says",
    "raw",
    "wide",
    "zero",
    "recurrent",
    "looked_up",
    "indexed",
    "quantized",
    "no_inputs",
    "external",
]


@pytest.mark.parametrize("name", KINDS)
def test_it_answers_as_torch_does(programs: Path, tmp_path: Path, name: str) -> None:
    files = {"data": programs / "external.ptd"} if name == "external" else {}
    given = {"inputs": _inputs(programs, name, tmp_path)}
    said = run(programs / f"{name}.pte", job(measure="quality"), output=tmp_path, **given, **files)
    found = _outputs(said)
    wanted = {key: value for key, value in _arrays(programs / f"{name}.npz").items() if key.startswith("out")}
    assert wanted
    for key, array in wanted.items():
        own = found[f"set0_output{key.removeprefix('out')}"]
        exact = np.issubdtype(array.dtype, np.integer)
        tolerances = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(own, array.astype(np.float64).reshape(own.shape), **tolerances)


@pytest.mark.parametrize("name", KINDS)
def test_made_inputs_are_taken(programs: Path, name: str) -> None:
    files = {"data": programs / "external.ptd"} if name == "external" else {}
    assert run(programs / f"{name}.pte", job(), **files).order[-1] == "done"


def test_numbers_are_described_by_kind_and_value(programs: Path) -> None:
    (method,) = run(programs / "scalars.pte", job(measure="describe")).one(Describe).methods
    assert [each["kind"] for each in method["inputs"]] == ["tensor", "int", "float", "bool", "none"]
    assert [each.get("value") for each in method["inputs"]] == [None, 3, 0.5, True, None]
    (method,) = run(programs / "says.pte", job(measure="describe")).one(Describe).methods
    assert [each["kind"] for each in method["outputs"]] == ["tensor", "int", "int", "bool"]


def test_constants_that_are_tensors_are_described_by_their_numbers_or_by_their_shape(programs: Path) -> None:
    metadata = run(programs / "constants.pte", job(measure="describe")).one(Describe).metadata
    assert metadata["get_mean"] == [[pytest.approx(0.1), 0.5], [0.25, 2.0]]
    assert metadata["get_ids"] == [3, 2**40]
    assert metadata["get_flags"] == [True, False]
    assert metadata["get_one"] == 7.5
    assert metadata["get_picture"] == "float32 [3, 8, 8]"
    assert metadata["get_most"] == list(range(64))
    assert metadata["get_too_many"] == "float32 [65]"
    assert metadata["get_bounds"] == ["inf", "nan"]


def test_of_several_methods_the_named_one_is_run(programs: Path, tmp_path: Path) -> None:
    expected = _arrays(programs / "methods.npz")
    given = _inputs(programs, "methods", tmp_path)
    for method in ("encode", "decode"):
        said = run(programs / "methods.pte", job(measure="quality", method=method), inputs=given, output=tmp_path)
        np.testing.assert_allclose(_outputs(said)["set0_output0"], expected[method], rtol=1e-5, atol=1e-6)
    assert "encode, decode" in run(programs / "methods.pte", job()).error.message or (
        "decode, encode" in run(programs / "methods.pte", job()).error.message
    )
    assert "--method" in run(programs / "methods.pte", job()).error.todo
    assert "no method 'other'" in run(programs / "methods.pte", job(method="other")).error.message


def test_a_program_of_constants_alone_is_described_and_refused(programs: Path) -> None:
    assert run(programs / "constant.pte", job(measure="describe")).one(Describe).methods == []
    error = run(programs / "constant.pte", job()).error
    assert error.kind == "model"
    assert "no method that can be run" in error.message


def test_the_bytes_of_weights_beside_the_program_count(programs: Path) -> None:
    both = [programs / "external.pte", programs / "external.ptd"]
    said = run(both[0], job(), data=both[1])
    size = sum(path.stat().st_size for path in both)
    assert (said.one(Loaded).program_bytes, said.one(Io).asked_bytes) == (size, size)
    alone = run(both[0], job()).error
    assert (alone.kind, "--data-file" in alone.todo) == ("model", True)
    described = run(both[0], job(measure="describe")).one(Describe)
    assert described.external_data
    other = run(both[0], job(), data=programs / "constant.pte").error
    assert other.kind == "model"
    assert other.todo


def test_an_operator_without_a_kernel_for_its_numbers_is_named(programs: Path, tmp_path: Path) -> None:
    from harness.job import Files, request_json

    command = [sys.executable, "-P", "-m", "harness.worker"]
    request = request_json(job(), Files(model=str(programs / "converted.pte"))) + "\n"
    with (tmp_path / "stderr").open("w+b") as stderr:  # a file, as that of a worker of harness is
        ended = subprocess.run(command, input=request.encode(), stdout=subprocess.PIPE, stderr=stderr, check=True)
    error = decode(ended.stdout.decode().splitlines()[-1])
    assert isinstance(error, Error)
    assert "the operator dim_order_ops::_to_dim_order_copy.out failed: Unhandled dtype UInt16" in error.message
    assert "convert the input" in error.todo


@pytest.mark.parametrize("name", [f"{kind}_{convention}" for kind in ("lm", "strict") for convention in CONVENTIONS])
def test_each_convention_for_positions_is_generated_by(programs: Path, name: str) -> None:
    said = run(programs / f"{name}.pte", job("generate", prompt_tokens=5, new_tokens=6))
    assert said.order[-1] == "done", said.events[-1]
    assert len(said.samples("decode").start_ns) == 4 * 5


@pytest.mark.parametrize("convention", [*CONVENTIONS, "whole", "whole_all"])
def test_the_loss_of_each_convention_is_that_of_torch(programs: Path, tmp_path: Path, convention: str) -> None:
    expected = _arrays(programs / "language.npz")
    np.save(tmp_path / "tokens.npy", expected["text"])
    said = run(programs / f"lm_{convention}.pte", job("generate", "quality"), tokens=tmp_path / "tokens.npy")
    values = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    assert values["loss_nats"] == pytest.approx(float(expected["loss"]), abs=1e-5)


@pytest.mark.parametrize("convention", ["whole", "whole_all"])
def test_a_model_without_a_cache_says_what_one_with_a_cache_does(
    programs: Path, tmp_path: Path, convention: str
) -> None:
    """Each new token costs the whole sequence, whether it gives the logits behind all tokens or the last."""
    np.save(tmp_path / "prompts.npy", np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]))
    asked = job("generate", prompt_tokens=5, new_tokens=6, prompts="some", end_tokens=())
    answers = [
        [
            answer.tokens
            for answer in run(programs / f"lm_{name}.pte", asked, prompts=tmp_path / "prompts.npy").all(Answer)
        ]
        for name in (convention, "each")
    ]
    assert answers[0] == answers[1]
    assert [len(answer) for answer in answers[0]] == [6, 6]


def test_a_llama_by_executorchs_own_exporter_is_measured_and_its_loss_is_that_of_torch(
    llama: Path, tmp_path: Path
) -> None:
    said = run(llama / "llama.pte", job("generate", prompt_tokens=4, new_tokens=5))
    assert said.order[-1] == "done", said.events[-1]
    expected = _arrays(llama / "llama.npz")
    np.save(tmp_path / "tokens.npy", expected["tokens"])
    said = run(llama / "llama.pte", job("generate", "quality"), tokens=tmp_path / "tokens.npy")
    values = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    assert values["loss_nats"] == pytest.approx(float(expected["loss"].mean()), abs=1e-4)
    assert abs(values["loss_nats"] - np.log(64)) > 0.5, "no uniform guess, which any defect would give too"


# Exported programs of torch.


class Keyword(torch.nn.Module):
    def forward(self, x: torch.Tensor, *, mask: torch.Tensor, n: int = 2) -> torch.Tensor:
        return x * mask * n


class Nested(torch.nn.Module):
    def forward(self, batch: Any, pair: Any) -> Any:
        return {"y": batch["x"] * pair[0], "z": [pair[1] + 1, 7]}


class Found(torch.nn.Module):
    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return torch.nonzero(scores > 0)


X, MASK = torch.randn(2, 8), torch.ones(2, 8) / 3
PT2: dict[str, tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]] = {
    "keyword": (Keyword(), (X,), {"mask": MASK}),
    "nested": (Nested(), ({"x": X, "unused": MASK}, (MASK, X)), {}),
    "sizes of data": (Found(), (X,), {}),
    "bfloat16": (torch.nn.Linear(8, 4).to(torch.bfloat16), (X.to(torch.bfloat16),), {}),
}


@pytest.mark.parametrize("name", PT2)
def test_an_exported_program_is_called_as_it_wants_and_answers_as_torch_does(tmp_path: Path, name: str) -> None:
    module, args, kwargs = PT2[name]
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(module.eval(), args, kwargs), path)
    assert run(path, job()).order[-1] == "done"
    said = run(path, job(measure="quality"), inputs=path, output=tmp_path)
    with torch.no_grad():
        answer = torch.utils._pytree.tree_leaves(module(*args, **kwargs))
    found = _outputs(said)
    assert len(found) == len(answer)
    for index, wanted in enumerate(answer):
        wanted = wanted.double().numpy() if isinstance(wanted, torch.Tensor) else np.array([wanted], np.float64)
        np.testing.assert_allclose(found[f"set0_output{index}"], wanted, rtol=1e-6)


def test_what_torchao_quantised_runs_once_it_is_unwrapped_and_is_refused_with_that_word_before(tmp_path: Path) -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import unwrap_tensor_subclass

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).eval()
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    x = (torch.randn(1, 64),)
    torch.export.save(torch.export.export(model, x), tmp_path / "wrapped.pt2")
    error = run(tmp_path / "wrapped.pt2", job()).error
    assert (error.kind, "unwrap_tensor_subclass" in error.todo) == ("model", True)
    unwrap_tensor_subclass(model)
    torch.export.save(torch.export.export(model, x), tmp_path / "plain.pt2")
    said = run(tmp_path / "plain.pt2", job(measure="quality"), inputs=tmp_path / "plain.pt2", output=tmp_path)
    np.testing.assert_allclose(_outputs(said)["set0_output0"], model(*x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_limits_of_indices_are_found_behind_views_and_casts(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.types = torch.nn.Embedding(50, 4), torch.nn.Embedding(2, 4)

        def forward(self, ids: Any, types: Any, rows: Any, other: Any) -> Any:
            looked_up = self.words(ids.to(torch.int64).reshape(-1)) + self.types(types.view(-1))
            return looked_up, self.words.weight.index_select(0, rows), other + 1

    inputs = (
        torch.ones(1, 3, dtype=torch.int32),
        *(torch.ones(sizes, dtype=torch.int64) for sizes in ((1, 3), (2,), (5,))),
    )
    torch.export.save(torch.export.export(Two(), inputs), tmp_path / "two.pt2")
    (method,) = run(tmp_path / "two.pt2", job(measure="describe")).one(Describe).methods
    assert [each.get("limit") for each in method["inputs"]] == [50, 2, 50, None]


def test_the_limit_of_an_index_is_that_of_its_dimension_and_the_least_of_several(programs: Path) -> None:
    for suffix in (".pte", ".pt2"):
        (method,) = run(programs / f"indexed{suffix}", job(measure="describe")).one(Describe).methods
        assert [each.get("limit") for each in method["inputs"]] == [20, 7]
