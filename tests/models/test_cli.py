from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.analysis.grouping import measured_name
from harness.api.zoo import zoo_format
from harness.cli.models import models
from harness.errors import ModelError, UsageError
from harness.models.export import pte as export_module
from harness.models.gpt.network import GPT
from harness.models.recipe import Recipe
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED, Record, read_record
from harness.target import find_target


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture(autouse=True)
def fake_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(_: GPT, path: Path, precision: str, *__: object) -> None:
        path.write_text(precision)

    monkeypatch.setattr(export_module, "export_pte", export)


def test_the_list_says_what_is_built(runner: CliRunner) -> None:
    runner.invoke(models, ["build", "selfcomp"], catch_exceptions=False)
    rows = json.loads(runner.invoke(models, ["list", "--json"], catch_exceptions=False).stdout)["data"]
    found = {row["name"]: row for row in rows}
    assert {name for name, row in found.items() if row["built"]} == {"selfcomp-small"}
    assert found["selfcomp-small"]["built"] == ["selfcomp-small.pte"]
    assert found["selfcomp-small"]["bits_per_weight_stored"] < 1
    shown = runner.invoke(models, ["list"], catch_exceptions=False, env={"COLUMNS": "120"}).stdout
    assert f"{rows[0]['loss']:.4f}" in shown


def test_build_copies_the_file_with_its_manifest(runner: CliRunner, tmp_path: Path) -> None:
    target = tmp_path / "x.pte"
    arguments = ["build", "selfcomp", "--precision", "fp32", "--output", str(target), "--json"]
    said = json.loads(runner.invoke(models, arguments, catch_exceptions=False).stdout)["data"]
    assert said["path"] == str(target)
    assert target.read_text() == "fp32"
    assert json.loads((tmp_path / "x.pte.json").read_text())["artifact_sha256"] == said["sha256"]


def test_a_target_decides_which_kind_of_file(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "selfcomp-small.static.pt2"
    monkeypatch.setattr(
        "harness.cli.models.making.static", lambda name, channels, **_: file.with_stem(f"{name}-{channels}")
    )
    arguments = ["build", "selfcomp", "--target", "npu", "--channels", "exact"]
    said = runner.invoke(models, arguments, catch_exceptions=False)
    assert Path(said.stdout.strip()).name == "selfcomp-exact.pt2"
    said = runner.invoke(models, ["build", "selfcomp", "--target", "x86"], catch_exceptions=False)
    assert Path(said.stdout.strip()).name == "selfcomp-small.pte"
    with pytest.raises(UsageError, match="A target decides"):
        runner.invoke(models, ["build", "selfcomp", "--target", "npu", "--format", "pt2"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("file", "fmt"),
    [("baseline.onnx", "onnx"), ("baseline.gguf", "gguf"), ("baseline.pt2", "pt2"), ("baseline", "pte")],
)
def test_a_name_with_a_suffix_is_built_in_that_format(file: str, fmt: str) -> None:
    assert zoo_format(Path(file), find_target("x86")) == ("baseline", fmt)
    assert measured_name(file, ["baseline-small", "other"]) == "baseline-small"


def test_a_build_passes_on_what_its_check_warns_of(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(_: GPT, path: Path, *__: object) -> dict[str, str]:
        path.write_bytes(b"onnx")
        return {"warning": "Sums may clip."}

    monkeypatch.setattr("harness.models.export.onnx.export_onnx", export)
    said = runner.invoke(models, ["build", "baseline", "--format", "onnx"], catch_exceptions=False)
    assert Path(said.stdout.strip()).name == "baseline-small.onnx"
    assert said.stderr.splitlines()[-1] == "Warning: Sums may clip."


def test_a_seed_and_float32_take_the_place_of_the_recipes(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[Recipe] = []

    def make(zoo: object, recipe: Recipe, *_: object, **__: object) -> Record:
        trained.append(recipe)
        record = read_record(PACKAGED, "baseline-small")
        assert record is not None
        return record

    monkeypatch.setattr("harness.cli.models.training.make", make)
    monkeypatch.setattr("harness.cli.models.training.fast_bfloat16", lambda: False)
    arguments = ["train", "selfcomp-6x384", "--output", str(tmp_path)]
    slow = runner.invoke(models, arguments, catch_exceptions=False)
    assert "--float32 trains in float32" in slow.stderr
    assert "trains with Muon, which torch computes in bfloat16" in slow.stderr
    quick = runner.invoke(models, [*arguments, "--seed", "7", "--float32"], catch_exceptions=False)
    assert "--float32" not in quick.stderr
    assert [(recipe.training.seed, recipe.training.bfloat16) for recipe in trained] == [(2, True), (7, False)]


def test_an_unknown_model_is_a_usage_error(runner: CliRunner) -> None:
    for command in ("build", "train", "pack"):
        with pytest.raises(UsageError, match="'gpt-5'"):
            runner.invoke(models, [command, "gpt-5"], catch_exceptions=False)


def test_verify_says_what_agrees_and_fails_where_a_record_lies(
    runner: CliRunner, tmp_path: Path, shakespeare: Path
) -> None:
    for suffix in ("safetensors", "json"):
        shutil.copy(PACKAGED / f"selfcomp-small.{suffix}", tmp_path)
    arguments = ["verify", "selfcomp", "--weights", str(tmp_path), "--data", str(shakespeare)]
    honest = runner.invoke(models, arguments, catch_exceptions=False)
    assert (honest.exit_code, honest.stdout.count("agrees"), "DIFFERS" in honest.stdout) == (0, 6, False)
    record = json.loads((tmp_path / "selfcomp-small.json").read_text())
    (tmp_path / "selfcomp-small.json").write_text(json.dumps(record | {"validation_loss": 1.5, "bits_stored": 0.5}))
    lying = runner.invoke(models, [*arguments, "--json"], catch_exceptions=False)
    assert lying.exit_code == 1
    differing = [check["figure"] for check in json.loads(lying.stdout)["data"] if not check["agrees"]]
    assert differing == ["validation_loss", "bits_stored"]


def test_packed_weights_say_what_they_take_and_verify(runner: CliRunner, tmp_path: Path, shakespeare: Path) -> None:
    pytest.importorskip("constriction")
    arguments = ["pack", "selfcomp", "--entropy", "--output", str(tmp_path)]
    said = json.loads(runner.invoke(models, [*arguments, "--json"], catch_exceptions=False).stdout)["data"]
    file = tmp_path / "selfcomp-small.safetensors"
    assert (said["path"], said["bytes"]) == (str(file), file.stat().st_size)
    assert said["bytes"] < said["bytes_without_entropy_coding"] == (PACKAGED / file.name).stat().st_size
    arguments = ["verify", "selfcomp", "--weights", str(tmp_path), "--data", str(shakespeare)]
    verified = runner.invoke(models, arguments, catch_exceptions=False)
    assert (verified.exit_code, verified.stdout.count("agrees")) == (0, 6)


def test_the_parts_of_packed_weights_fit_a_terminal(runner: CliRunner, tmp_path: Path) -> None:
    for name in ("selfcomp", "baseline-6x384"):
        shown = runner.invoke(models, ["pack", name], catch_exceptions=False, env={"COLUMNS": "80"}).stdout
        assert "…" not in shown
        assert f"{(PACKAGED / f'{packaged().find(name).name}.safetensors').stat().st_size:,}" in shown
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        runner.invoke(models, ["pack", "selfcomp", "--output", str(tmp_path / "file" / "x")], catch_exceptions=False)


def test_nothing_to_verify_is_said(runner: CliRunner, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights in"):
        runner.invoke(models, ["verify", "--weights", str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize("command", ["list", "build", "train", "verify", "figures", "pack"])
def test_help_has_an_example(runner: CliRunner, command: str) -> None:
    assert f"harness models {command}" in runner.invoke(models, [command, "--help"]).stdout


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, harness.cli.models; print([m for m in ('torch', 'rich', 'pandas') if m in sys.modules])"
    command = [sys.executable, "-P", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
