"""Models of the zoo compressed by recipe, weights at rest, a user's functions and files, and the command."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fakes.nets import images, mixed
from torch import Tensor, nn

import harness.models
from harness.cli.models import models
from harness.errors import DataError, ModelError, UsageError
from harness.manifest import read_manifest, sha256_file
from harness.models.compress import packed
from harness.models.compress.calibration import calibration_of
from harness.models.compress.method import find_method, method_names
from harness.models.compress.user_module import UserModel, load_function, read_samples
from harness.models.export.deployment import Body
from harness.models.gpt.network import GPT, GPTConfig
from harness.models.train.quality import LogitsOf
from harness.models.zoo import artifacts, compressing, recipes
from harness.models.zoo.recipes import packaged

NET = """
import torch
from torch import nn

def trained():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), (torch.randn(4, 64),)

def alone():
    return trained()[0]

def text():
    return "a model"

def raising():
    raise OSError("no such checkpoint")
"""
NEEDED: dict[str, dict[str, Any]] = {"grouped-query": {"heads": 8, "kv_heads": 2, "separate": ("second",)}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with net.py and samples.npz."""
    (tmp_path / "net.py").write_text(NET)
    np.savez(tmp_path / "samples.npz", x=np.random.default_rng(0).normal(size=(22, 64)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compress(*words: str) -> Result:
    return CliRunner().invoke(models, ["compress", *words])


@pytest.mark.parametrize("method", method_names(trained=False))
def test_weights_at_rest_give_the_same_model_again(method: str, tmp_path: Path) -> None:
    small = harness.models.compress(mixed(), method=method, calibration=images(), **NEEDED.get(method, {}))
    path = tmp_path / "small.safetensors"
    path.write_bytes(packed.encoded(small, mixed()))
    again, record = packed.decoded(path, mixed(seed=5))
    with torch.no_grad():
        assert torch.equal(again(images()), small.module(images()))
    assert record == json.loads(json.dumps(small.record.as_json()))


def test_weights_at_rest_take_what_the_record_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 512, bias=False), nn.Linear(512, 256, bias=False))
    small = harness.models.compress(net, method="round-to-nearest", bits=3)
    size = len(packed.encoded(small, net))
    assert size - small.record.bits_per_weight * small.record.weights / 8 < 4000  # the header holds the record


def test_weights_of_another_model_or_a_damaged_file_are_refused(tmp_path: Path) -> None:
    small = harness.models.compress(mixed(), method="gptq", calibration=images())
    path = tmp_path / "small.safetensors"
    path.write_bytes(packed.encoded(small, mixed()))
    with pytest.raises(ModelError, match=r"small.safetensors does not fit this model \("):
        packed.decoded(path, nn.Linear(3, 3))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match=r"small.safetensors cannot be read"):
        packed.decoded(path, mixed())
    with pytest.raises(ModelError, match=r"is no file of compressed weights"):
        packed.decoded(Path(str(artifacts.PACKAGED / "baseline-small.safetensors")), mixed())


@torch.no_grad()
def test_a_program_of_our_network_holds_the_very_levels(tiny: GPTConfig, seeded: Callable[..., GPT]) -> None:
    """GPTQ's levels and steps are those of the layers that are exported, also where scores' scale is folded in."""
    model = seeded(tiny)
    tokens = torch.randint(tiny.vocabulary_size, (8, tiny.context))
    small = harness.models.compress(model, method="gptq", bits=4, calibration=tokens)
    assert compressing.precision_of(small) == "int4-channel"
    assert isinstance(small.module, GPT)
    block: Any = Body(small.module, "int4-channel").blocks[0]
    fc: Any = small.weights.layers["blocks.0.ffn.fc"]
    assert block.ffn.fc.high == 7
    torch.testing.assert_close(block.ffn.fc.levels * block.ffn.fc.step[:, None], fc.weight(), rtol=1e-6, atol=0)
    qkv: Any = small.weights.layers["blocks.0.attention.qkv"]
    queries = block.attention.queries
    scaled = qkv.weight()[:16] * model.blocks[0].attention.scale  # type: ignore[union-attr]
    torch.testing.assert_close(queries.levels * queries.step[:, None], scaled, rtol=1e-6, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("method", ["svd", "tucker", "activation-svd"])
def test_factors_are_deployed_as_factors(tiny: GPTConfig, seeded: Callable[..., GPT], method: str) -> None:
    from harness.models.export.deployment import AllLogits

    model = seeded(tiny)
    tokens = torch.randint(tiny.vocabulary_size, (1, tiny.context))
    small = harness.models.compress(model, method=method, share=0.7, calibration=tokens.repeat(4, 1))
    gpt = small.module
    assert isinstance(gpt, GPT)
    body = Body(gpt, "fp32")
    logits = AllLogits(body)(tokens)
    torch.testing.assert_close(logits, gpt(tokens), atol=1e-3, rtol=1e-3)
    block: Any = body.blocks[0]
    assert len(block.attention.reading) == (2 if method == "tucker" else 1)
    assert len(block.ffn.out) == (3 if method == "tucker" else 2)
    assert compressing.precision_of(small) == "fp32"
    assert compressing.kernels_of(small) == {}


def test_what_a_program_multiplies_out_is_marked(tiny: GPTConfig, seeded: Callable[..., GPT]) -> None:
    model = seeded(tiny)
    trains = harness.models.compress(model, method="tensor-train")
    assert set(compressing.kernels_of(trains).values()) == {"float32, dense"}
    skipped = harness.models.compress(model, method="absmax", skip=("*fc",))
    assert compressing.precision_of(skipped) == "fp32"  # int8 would round the layers that are skipped
    assert "blocks.0.ffn.out" in compressing.kernels_of(skipped)


def test_every_recipe_of_the_package_is_one_that_its_method_takes() -> None:
    zoo = packaged()
    assert len(zoo.compressed) >= 20
    for recipe in zoo.compressed.values():
        find_method(recipe.method).parse(recipe.options)
        assert recipe.name in artifacts.names()
        assert zoo.find(recipe.parent).architecture.width == 384


@pytest.fixture
def zoo_of_one(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A zoo with `small`, baseline-small in 4 bits; its programs are a few bytes, and each export is noted."""
    exported: list[str] = []
    document = tomllib.loads('[compressed.small]\nparent = "baseline-small"\nmethod = "gptq"\noptions = { bits = 3 }\n')
    trained = packaged()
    compressed = {name: recipes._compressed(name, t, trained.recipes) for name, t in document["compressed"].items()}
    zoo = recipes.Zoo(trained.recipes, trained.aliases, compressed)
    for module in (artifacts, recipes):
        monkeypatch.setattr(module, "packaged", lambda: zoo)

    def export(gpt: LogitsOf, path: Path, precision: str, on_step: object) -> None:
        exported.append(precision)
        path.write_bytes(os.urandom(64))

    monkeypatch.setattr(compressing, "export_pte", export)
    return exported


def test_a_recipe_is_built_once_with_its_record(zoo_of_one: list[str], cache: Path) -> None:
    path = artifacts.artifact("small")
    assert path == cache / "artifacts" / "small.pte"
    assert artifacts.artifact("small") == artifacts.built("small") == path
    assert zoo_of_one == ["int4-channel"]
    manifest = read_manifest(path, sha256_file(path))
    assert manifest is not None
    assert (manifest.parent, manifest.method, manifest.precision) == ("baseline-small", "gptq", "int4-channel")
    assert manifest.recipe == {
        "name": "small",
        "parent": "baseline-small",
        "method": "gptq",
        "options": {"bits": 3},
    }
    assert manifest.compression["options"]["bits"] == 3
    assert manifest.compression["calibration"]["samples"] == compressing.SAMPLES
    assert manifest.bits_per_weight == pytest.approx(3.19, abs=0.01)
    assert len(manifest.layers) == 16
    assert manifest.tokenizer["kind"] == "char"
    artifacts.artifact("small", force=True)
    assert len(zoo_of_one) == 2


def test_a_build_that_is_stopped_leaves_nothing(
    zoo_of_one: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(gpt: GPT, path: Path, precision: str, on_step: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(compressing, "export_pte", stopped)
    with pytest.raises(KeyboardInterrupt):
        artifacts.artifact("small")
    assert [path.name for path in (cache / "artifacts").iterdir()] == [".small.pte.lock"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int8"}, "Its method decides in what precision small is stored"),
        ({"fmt": "onnx"}, "small is made as a .pte alone"),
        ({"folder": Path()}, "small is made of the weights that come with harness"),
    ],
)
def test_a_compressed_model_leaves_no_choice(zoo_of_one: list[str], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        artifacts.artifact("small", **arguments)
    with pytest.raises(UsageError, match="small is made of the weights of baseline-small"):
        recipes.packaged().find("small")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('method = "gptq"', r"\[compressed.x\] lacks the key 'parent'"),
        ('method = "gptq"\nparent = "y"', r"\[compressed.x\] has the unknown parent 'y'"),
        ('method = "gptq"\nparent = "y"\nbits = 4', r"\[compressed.x\] has the unknown key 'bits'"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(table: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipes.parse(tomllib.loads(f"[models]\n[compressed.x]\n{table}\n"))


def test_calibration_is_the_training_text(tiny: GPTConfig) -> None:
    record = artifacts.read_record(artifacts.PACKAGED, "baseline-small")
    assert record is not None
    calibration = compressing.training_windows(record)
    assert len(calibration.batches) == compressing.SAMPLES
    assert calibration.batches[0][0].shape == (1, record.context)
    assert calibration == calibration_of(calibration.batches) or calibration.sha256


def test_a_users_model_becomes_a_program_and_a_manifest(folder: Path) -> None:
    made = compress(
        "net.py:trained", "--method", "gptq", "--bits", "4", "--calibration", "samples.npz", "--output", "out.pte"
    )
    assert made.exit_code == 0, made.output
    assert "2 layers, 2,368 weights" in made.output
    manifest = read_manifest(folder / "out.pte", sha256_file(folder / "out.pte"))
    assert manifest is not None
    assert (manifest.name, manifest.parent, manifest.precision) == ("out", "net.py:trained", "int4-channel")
    assert manifest.quality["difference"] < 0.05
    assert manifest.compression["calibration"]["samples"] == 22
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("out")) == ["out.pte", "out.pte.json"]


def test_weights_at_rest_are_written_by_the_command(folder: Path) -> None:
    words = ("net:alone", "--method", "round-to-nearest", "--option", "search=true", "--output", "w.safetensors")
    made = compress(*words, "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["data"]["options"]["search"] is True
    model = load_function("net:alone").module
    again, record = packed.decoded(folder / "w.safetensors", model)
    assert record["method"] == "round-to-nearest"
    assert not torch.equal(again(torch.ones(64)), model(torch.ones(64)))


REFUSED = {
    ("net.py:trained",): "Name a model, and a --method",
    ("net.py:trained", "--method", "gptk"): "There is no compression method 'gptk'",
    ("net.py:trained", "--method", "gptq"): "gptq needs calibration inputs",
    (
        "net.py:trained",
        "--method",
        "absmax",
        "--bits",
        "1",
    ): "absmax cannot be used: bits is 1,",
    ("net.py:trained", "--method", "absmax", "--option", "per"): "'per' is no NAME=VALUE",
    ("net.py:trained", "--method", "svd", "--bits", "4"): "svd has no option 'bits'",
    ("net.py:trained", "--method", "absmax", "--output", "x.onnx"): "x.onnx is neither a .pte nor a .safetensors",
    ("net.py:trained", "--method", "absmax", "--output", "no/x.safetensors"): "no/x.safetensors cannot be written",
    ("net.py:other", "--method", "absmax"): "net.py has no other",
    ("net.py:text", "--method", "absmax"): "net.py:text returns a str, not a torch.nn.Module",
    ("net.py:raising", "--method", "absmax"): "net.py:raising cannot be called (no such checkpoint)",
    ("gone.py:trained", "--method", "absmax"): "There is no file gone.py",
    ("gone:trained", "--method", "absmax"): "gone cannot be imported (No module named 'gone')",
    ("selfcompp", "--method", "absmax"): "'selfcompp' names no function",
    ("net.py:alone", "--method", "absmax", "--output", "x.pte"): "net.py:alone returns no inputs to trace the model",
    ("baseline", "--method", "gptq", "--calibration", "samples.npz"): "baseline is calibrated on its training text",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_the_command_cannot_do_is_one_sentence(folder: Path, words: tuple[str, ...]) -> None:
    made = compress(*words)
    assert isinstance(made.exception, UsageError)
    assert made.exception.message.startswith(REFUSED[words])
    assert made.exception.hint.endswith(".")
    assert sorted(path.name for path in folder.iterdir() if path.suffix in (".pte", ".safetensors", ".onnx")) == []


def test_the_methods_are_listed() -> None:
    rows = json.loads(compress("--list", "--json").stdout)["data"]
    assert {row["method"] for row in rows} == set(method_names())
    assert all(row["source"] and row["options"] for row in rows)
    assert "gptq" in compress("--list").stdout


def model_of(*shapes: tuple[int, ...]) -> UserModel:
    class Sum(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first + second

    return UserModel(Sum(), tuple(torch.zeros(shape) for shape in shapes), None)


def test_samples_are_given_by_name_in_batches_of_the_models_inputs(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    first, second = np.zeros((5, 3), np.float32), np.ones((5, 3), np.float32)
    np.savez(path, second=second, first=first)
    batches = read_samples(path, model_of((2, 3), (2, 3)))
    assert [len(batch[0]) for batch in batches] == [2, 2, 1]
    assert batches[0][0].sum() == 0
    assert batches[0][1].sum() == 6
    np.save(tmp_path / "x.npy", first)
    single = UserModel(nn.Linear(3, 3), None, None)
    assert [batch[0].shape for batch in read_samples(tmp_path / "x.npy", single)] == [(1, 3)] * 5


def test_samples_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    ones = np.ones((5, 3), np.float32)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"first": ones}, "x.npz has 1 arrays, the model takes 2 inputs"),
        ({"first": ones, "second": ones[:4]}, "have no samples, or not as many in each"),
        ({"first": ones, "second": ones[:, :2]}, r"Samples of input 2 in .*x.npz are \(2,\) float32, the model's are"),
        ({"first": ones, "second": ones.astype(np.int64)}, r"are \(3,\) int64, the model's are \(3,\) float32"),
        ({"first": np.array(["a"]), "second": np.array(["b"])}, "has an array that is no tensor"),
    ]
    for arrays, message in cases:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=message):
            read_samples(path, model_of((2, 3), (2, 3)))
    path.write_bytes(b"PK\x03\x04 no archive")
    for name in ("x.npz", "none.npz"):
        with pytest.raises(DataError, match=r"cannot be read|is damaged"):
            read_samples(tmp_path / name, model_of((2, 3), (2, 3)))
