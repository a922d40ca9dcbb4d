"""What is built when. The exports themselves are tested in test_export; here they write a few bytes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from torch import Tensor

from harness.durations import OnStep
from harness.errors import ModelError, UsageError
from harness.manifest import Manifest, manifest_path, read_manifest, sha256_file
from harness.models.export import gguf as gguf_module
from harness.models.export import onnx as onnx_module
from harness.models.export import openvino as openvino_module
from harness.models.export import pt2 as pt2_module
from harness.models.export import pte as pte_module
from harness.models.export import tflite as tflite_module
from harness.models.gpt.network import GPT
from harness.models.zoo import artifacts
from harness.models.zoo.copying import copy_artifact
from harness.models.zoo.loading import load
from harness.models.zoo.recipes import Zoo, packaged
from harness.models.zoo.records import PACKAGED, read_record

openvino_is_here = pytest.mark.skipif(find_spec("openvino") is None, reason="the extra `openvino` is not installed")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every export asked for, as `kind precision`; each writes other bytes than the last."""
    asked: list[str] = []

    def pte(_: GPT, path: Path, precision: str, on_step: OnStep) -> None:
        asked.append(f"pte {precision}")
        path.write_bytes(os.urandom(64))

    def pt2(_: GPT, path: Path, on_step: OnStep) -> None:
        asked.append("pt2")
        path.write_bytes(os.urandom(64))

    def onnx(_: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep) -> dict[str, float | str]:
        asked.append(f"onnx {precision}")
        path.write_bytes(os.urandom(64))
        return {"same_tokens": 0.99, "warning": "Sums may clip."}

    def tflite(_: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep) -> dict[str, float]:
        asked.append(f"tflite {precision}")
        path.write_bytes(os.urandom(64))
        return {"same_tokens": 0.99}

    monkeypatch.setattr(tflite_module, "export_tflite", tflite)

    def gguf(_: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep) -> dict[str, float]:
        asked.append(f"gguf {precision}")
        path.write_bytes(os.urandom(64))
        return {"same_tokens": 0.99}

    monkeypatch.setattr(gguf_module, "export_gguf", gguf)
    monkeypatch.setattr(pte_module, "export_pte", pte)
    monkeypatch.setattr(pt2_module, "export_pt2", pt2)

    def openvino(_: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep) -> dict[str, float | str]:
        asked.append(f"openvino {precision}")
        path.write_bytes(os.urandom(64))
        path.with_suffix(".bin").write_bytes(os.urandom(64))
        return {"same_tokens": 0.98}

    monkeypatch.setattr(onnx_module, "export_onnx", onnx)
    monkeypatch.setattr(openvino_module, "export_openvino", openvino)
    return asked


def test_names_say_what_is_not_the_default(exports: list[str], cache: Path) -> None:
    made = [
        artifacts.artifact("baseline"),
        artifacts.artifact("selfcomp"),
        artifacts.artifact("selfcomp", "fp32"),
        artifacts.artifact("selfcomp", fmt="pt2"),
    ]
    assert [path.name for path in made] == [
        "baseline-small.pte",
        "selfcomp-small.pte",
        "selfcomp-small.fp32.pte",
        "selfcomp-small.pt2",
    ]
    assert exports == ["pte fp32", "pte int4-channel", "pte fp32", "pt2"]
    assert {path.parent for path in made} == {cache / "artifacts"}


def test_an_onnx_has_int4_by_groups_also_of_what_was_trained_by_channels(exports: list[str], cache: Path) -> None:
    asked = [("baseline", None), ("baseline", "int8"), ("baseline", "int4"), ("selfcomp", None), ("selfcomp", "int8")]
    made = [artifacts.artifact(name, precision, "onnx") for name, precision in asked]
    assert [path.name for path in made] == [
        "baseline-small.onnx",
        "baseline-small.int8.onnx",
        "baseline-small.int4-group32.onnx",
        "selfcomp-small.onnx",
        "selfcomp-small.int8.onnx",
    ]
    assert exports == ["onnx fp32", "onnx int8", "onnx int4-group32", "onnx int4-group32", "onnx int8"]
    assert [manifest_of(path).bits_per_weight for path in made[:3]] == [32.0, 8.0, 4.5]


@openvino_is_here
def test_an_xml_has_int4_by_groups_only_of_what_was_not_trained_for_int4(exports: list[str], cache: Path) -> None:
    asked = [("baseline", None), ("baseline", "int4"), ("selfcomp", None), ("selfcomp", "int4"), ("selfcomp", "int8")]
    made = [artifacts.artifact(name, precision, "openvino") for name, precision in asked]
    assert [path.name for path in made] == [
        "baseline-small.xml",
        "baseline-small.int4-group32.xml",
        "selfcomp-small.xml",
        "selfcomp-small.xml",
        "selfcomp-small.int8.xml",
    ]
    assert exports == ["openvino fp32", "openvino int4-group32", "openvino int4-channel", "openvino int8"]


@openvino_is_here
def test_the_weights_of_an_xml_belong_to_it(exports: list[str], tmp_path: Path) -> None:
    path = artifacts.artifact("baseline", None, "openvino")
    weights, manifest = path.with_suffix(".bin"), manifest_of(path)
    assert manifest.artifact_bytes == 128
    assert manifest.data_sha256 == sha256_file(weights)
    assert artifacts.built("baseline", None, "openvino") == path
    copy = copy_artifact(path, tmp_path / "other.xml")
    assert (tmp_path / "other.bin").read_bytes() == weights.read_bytes()
    assert read_manifest(copy, sha256_file(copy), tmp_path / "other.bin") == manifest
    (tmp_path / "other.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"other\.bin is not the file of weights that the manifest"):
        read_manifest(copy, sha256_file(copy), tmp_path / "other.bin")
    with pytest.raises(UsageError, match="cannot be the name of a file whose weights lie next to it"):
        copy_artifact(path, tmp_path / "other.bin")
    for damage in (lambda: weights.write_bytes(b"damaged"), weights.unlink):
        damage()
        assert artifacts.built("baseline", None, "openvino") is None
        artifacts.artifact("baseline", None, "openvino")
    assert len(exports) == 3


def test_a_gguf_is_made_as_an_onnx_is(exports: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "version", lambda package: "1")  # llama.cpp need not be installed
    made = [artifacts.artifact("baseline", precision, "gguf") for precision in (None, "int4")]
    assert [path.name for path in made] == ["baseline-small.gguf", "baseline-small.int4-group32.gguf"]
    assert exports == ["gguf fp32", "gguf int4-group32"]
    assert manifest_of(made[0]).quality["same_tokens"] == 0.99


def test_a_tflite_has_all_precisions_of_a_pte(exports: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "version", lambda name: "1")
    asked = [("baseline", None), ("baseline", "int8"), ("baseline", "int4-group32"), ("selfcomp", None)]
    made = [artifacts.artifact(name, precision, "tflite") for name, precision in asked]
    assert [path.name for path in made] == [
        "baseline-small.tflite",
        "baseline-small.int8.tflite",
        "baseline-small.int4-group32.tflite",
        "selfcomp-small.tflite",
    ]
    assert exports == ["tflite fp32", "tflite int8", "tflite int4-group32", "tflite int4-channel"]
    assert manifest_of(made[0]).quality["same_tokens"] == 0.99


@pytest.mark.usefixtures("exports")
def test_what_the_check_of_an_onnx_measured_is_in_its_manifest() -> None:
    quality = manifest_of(artifacts.artifact("baseline", None, "onnx")).quality
    assert (quality["same_tokens"], quality["warning"]) == (0.99, "Sums may clip.")
    assert "loss" in quality


@pytest.mark.parametrize(
    ("fmt", "package"),
    [("onnx", "onnxscript"), ("gguf", "gguf"), ("openvino", "openvino"), ("tflite", "litert-torch")],
)
def test_a_format_needs_packages_and_says_which_and_the_extra(
    monkeypatch: pytest.MonkeyPatch, fmt: str, package: str
) -> None:
    def absent(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(artifacts, "version", absent)
    with pytest.raises(UsageError, match=f"{package}, which is not installed") as caught:
        artifacts.artifact("baseline", None, fmt)
    assert caught.value.hint == f"Run `pip install 'edge-harness[{fmt}]'`."
    assert fmt in (metadata("edge-harness").get_all("Provides-Extra") or ()), "there is such an extra"


def test_the_steps_of_a_build_are_announced_and_those_of_none_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def pte(_: GPT, path: Path, precision: str, on_step: OnStep) -> None:
        on_step("exporting")
        path.touch()

    monkeypatch.setattr(pte_module, "export_pte", pte)
    steps: list[str] = []
    artifacts.artifact("baseline", on_step=steps.append)
    assert steps == ["reading the weights", "exporting"]
    artifacts.artifact("baseline", on_step=steps.append)
    assert len(steps) == 2


@pytest.mark.usefixtures("exports")
def test_the_manifest_knows_the_model() -> None:
    path = artifacts.artifact("selfcomp")
    manifest = read_manifest(path, sha256_file(path))
    record = read_record(PACKAGED, "selfcomp-small")
    assert manifest is not None
    assert record is not None
    assert (manifest.method, manifest.parent) == ("self-compression", "baseline-small")
    assert manifest.precision == "int4-channel"
    assert manifest.quality["loss"] == record.validation_loss
    assert manifest.bits_per_weight == record.bits_learned
    assert manifest.bits_per_weight_stored == record.bits_stored
    assert len(manifest.tokenizer["vocabulary"]) == 65
    assert len(manifest.layers) == 16
    plain = artifacts.artifact("baseline")
    baseline = read_manifest(plain, sha256_file(plain))
    assert baseline is not None
    assert (baseline.bits_per_weight, baseline.layers) == (32.0, [])
    assert manifest.parameters < 0.6 * baseline.parameters


@pytest.mark.usefixtures("exports")
def test_the_loss_before_rounding_is_not_that_of_a_rounded_file() -> None:
    path = artifacts.artifact("baseline", "int8")
    manifest = read_manifest(path, sha256_file(path))
    assert manifest is not None
    assert "loss" not in manifest.quality
    exact = artifacts.artifact("selfcomp", "int8")
    kept = read_manifest(exact, sha256_file(exact))
    assert kept is not None
    assert "loss" in kept.quality, "its integers are the same in int8"


def manifest_of(path: Path) -> Manifest:
    manifest = read_manifest(path, sha256_file(path))
    assert manifest is not None
    return manifest


def test_both_kinds_of_int4_have_files_of_their_own(exports: list[str]) -> None:
    """And neither is taken for the other, nor for a file named int4 by a harness that knew one kind."""
    older = artifacts.artifact("baseline", "int4-group32")
    former = older.with_name("baseline-small.int4.pte")
    older.rename(former)
    manifest_path(older).rename(manifest_path(former))
    exports.clear()
    channel, group, either = (artifacts.artifact("baseline", kind) for kind in ("int4-channel", "int4-group32", "int4"))
    assert (channel.name, group.name) == ("baseline-small.int4-channel.pte", "baseline-small.int4-group32.pte")
    assert either == channel
    assert exports == ["pte int4-channel", "pte int4-group32"]
    assert [(manifest_of(path).precision, manifest_of(path).bits_per_weight) for path in (channel, group)] == [
        ("int4-channel", 4.0),
        ("int4-group32", 4.5),
    ]


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [("selfcomp", "int4-channel", "int4-group32"), ("blocks-small", "int4-group32", "int4-channel")],
)
def test_a_model_trained_in_int4_keeps_its_kind(exports: list[str], name: str, own: str, other: str) -> None:
    path = artifacts.artifact(name)
    assert path == artifacts.artifact(name, "int4") == artifacts.artifact(name, own)
    assert exports == [f"pte {own}"]
    assert (manifest_of(path).precision, "loss" in manifest_of(path).quality) == (own, True)
    with pytest.raises(UsageError, match=f"trained as {own}; {other} would round"):
        artifacts.artifact(name, other)
    assert ("loss" in manifest_of(artifacts.artifact(name, "int8")).quality) == (own == "int4-channel")


def test_a_current_file_is_not_built_again(exports: list[str]) -> None:
    first = artifacts.artifact("baseline").read_bytes()
    assert artifacts.artifact("baseline-small").read_bytes() == first
    assert len(exports) == 1
    assert artifacts.artifact("baseline", force=True).read_bytes() != first


def spoil_file(path: Path, _: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"damaged")


def lose_manifest(path: Path, _: pytest.MonkeyPatch) -> None:
    manifest_path(path).unlink()


def change_recipe(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = packaged().find("baseline")
    changed = replace(recipe, training=replace(recipe.training, seed=99))
    monkeypatch.setattr(artifacts, "packaged", lambda: Zoo({recipe.name: changed}, {"baseline": recipe.name}))


def change_versions(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "version", lambda _: "99")


@pytest.mark.parametrize("change", [spoil_file, lose_manifest, change_recipe, change_versions])
def test_a_file_that_is_not_current_is_built_again(
    exports: list[str], monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    change(artifacts.artifact("baseline"), monkeypatch)
    path = artifacts.artifact("baseline")
    assert len(exports) == 2
    assert read_manifest(path, sha256_file(path)) is not None


def test_a_build_that_fails_leaves_the_last_file(exports: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = artifacts.artifact("baseline")
    before = path.read_bytes()

    def failing(_: GPT, made: Path, *__: object) -> None:
        made.write_bytes(b"half")
        raise ModelError("The export failed.")

    monkeypatch.setattr(pte_module, "export_pte", failing)
    with pytest.raises(ModelError, match="The export failed"):
        artifacts.artifact("baseline", force=True)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir() if p.is_dir()) == []


def test_two_that_ask_at_once_share_one_build(exports: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    inner = pte_module.export_pte

    def slow(model: GPT, path: Path, precision: str, on_step: OnStep) -> None:
        time.sleep(0.2)
        inner(model, path, precision, on_step)

    monkeypatch.setattr(pte_module, "export_pte", slow)
    threads = [threading.Thread(target=artifacts.artifact, args=("baseline",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exports == ["pte fp32"]


def test_weights_of_ones_own_get_a_name_of_their_own(exports: list[str], tmp_path: Path) -> None:
    for suffix in ("safetensors", "json"):
        (tmp_path / f"baseline-small.{suffix}").write_bytes((PACKAGED / f"baseline-small.{suffix}").read_bytes())
    path = artifacts.artifact("baseline", folder=tmp_path)
    record = read_record(tmp_path, "baseline-small")
    assert record is not None
    assert path.name == f"baseline-small.{record.weights_sha256[:8]}.pte"
    with pytest.raises(ModelError, match="no weights of selfcomp-small"):
        artifacts.artifact("selfcomp", folder=tmp_path)
    assert len(exports) == 1


@pytest.mark.parametrize(
    ("name", "precision", "fmt", "named"),
    [
        ("baselin", None, "pte", "baseline-small, relu-small, selfcomp-small, .*, baseline, selfcomp, relu"),
        ("baseline", "fp16", "pte", "fp32, int8, int4-channel, int4-group32, int4"),
        ("baseline", None, "mlmodel", "pte, pt2, onnx, gguf, openvino, tflite"),
        ("baseline", "int4-channel", "gguf", "llama.cpp has no int4 with a step for each channel"),
        ("baseline", "fp16", "tflite", "fp32, int8, int4-channel"),
        ("baseline", "int4-channel", "onnx", "no int4 with a step for each channel"),
        ("baseline", "fp16", "onnx", "fp32, int8, int4-channel"),
        ("baseline", "int8", "pt2", "float32 only"),
        ("baseline", "int4", "pt2", "float32 only"),
    ],
)
def test_what_cannot_be_built_is_said(name: str, precision: str | None, fmt: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        artifacts.artifact(name, precision, fmt)


def test_known_names() -> None:
    assert artifacts.known("selfcomp")
    assert artifacts.known("selfcomp-small")
    assert not artifacts.known("selfcomp-large")


def test_what_ships_is_really_smaller() -> None:
    model, record = load("selfcomp")
    assert model.config.shapes is not None
    assert min(shape.ffn for shape in model.config.shapes) < 256
    assert record.bits_stored is not None
    assert record.bits_stored < 1
