"""`harness run --scenario flash`: a language model whose feed-forward weights lie in flash, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from click.testing import CliRunner
from flash_on_disk import make_flash_model
from native_bundles import shared_folder

from harness.cli import cli
from harness.models.zoo import artifacts


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_flash_model(tmp_path_factory, request)


def run(model: Path, *more: object) -> tuple[object, ...]:
    text = model.parent / "tokens.npy"
    return ("run", "-t", "x86", "-m", model, "--scenario", "flash", "--tokens", text, "--max-eval-tokens", 32, *more)


def test_a_model_in_flash_is_measured_and_every_token_kept(home: Home, model: Path) -> None:
    ended = home.harness(*run(model, "--window", 3, "--dram-budget", "60kB", "-n", 1, "--no-peer", "--json", *QUICK))
    assert ended.code == 0, ended.err
    (comparison,) = json.loads(ended.out)["data"]["comparisons"]
    assert comparison["condition"]["scenario"] == "flash"
    assert "prompts from the evaluation text" in comparison["condition"]["load"]
    figures = {row["metric"]: row["models"][0]["value"] for row in comparison["metrics"]}
    for metric in (
        "decode_latency_ns_p50",
        "decode_mem_ns_p50",
        "decode_compute_ns_p50",
        "flash_bytes_per_token",
        "flash_reads_per_token",
        "flash_hit_rate",
        "dram_bytes",
        "peak_over_idle_bytes",
        "loss_nats",
    ):
        assert figures[metric] > 0, metric
    assert (figures["token_agreement"], figures["added_loss_nats"]) == (1.0, 0.0)
    assert figures["flash_bytes_per_token"] == pytest.approx(512 * figures["flash_reads_per_token"])
    jobs = [json.loads(row["job_json"]) for row in home.rows()]
    for name, value in {"window": 3, "dram_budget_bytes": 60_000, "policy": "bundling", "predictor": "exact"}.items():
        assert {job[name] for job in jobs} == {value}
    phases = [row["phase"] for row in home.rows("samples")]
    # 3 queries of 8 prompt and 9 new tokens.
    assert [phases.count(phase) for phase in ("decode", "decode_io", "prefill")] == [24, 24, 3]
    (peer,) = [row for row in home.rows("scalars") if row["name"] == "peer_ratio"]
    assert (peer["value"], peer["reason"]) == (None, "fio was not asked (--no-peer)")
    (io,) = home.rows("io")
    assert io["read_bytes"] >= 0.99 * io["asked_bytes"] > 0
    assert not any("not_from_flash" in row["flags"] for row in home.rows())


def test_a_model_by_name_is_built_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def built_flash(name: str, *_: object) -> Path:
        asked.append(name)
        return model

    monkeypatch.setattr(artifacts, "built_flash", built_flash)
    words = ("-m", "relu-small", "--tokens", model.parent / "tokens.npy", "--results", tmp_path / "results", "-n", 1)
    only = ("--scenario", "flash", "--no-memory", "--no-quality", "--no-peer", *QUICK)
    ended = CliRunner().invoke(cli, [str(word) for word in ("run", "-t", "x86", *words, *only)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert asked == ["relu-small"]


def test_the_ablation_has_a_row_a_policy(home: Home, model: Path) -> None:
    ended = home.harness(*run(model, "--ablate", "--window", 3, "-n", 1, "--no-memory", "--no-peer", *QUICK))
    assert ended.code == 0, ended.err
    lines = [line.split("  ")[0].strip() for line in ended.out.splitlines()]
    names = ["none", "hybrid", "+ predictor", "+ windowing", "+ bundling", "+ pipeline"]
    assert [line for line in lines if line in names] == names
    assert "6 policies, 7 processes" in ended.err
    for words in (
        "window 3",
        "prompts from the evaluation text",
        "1 interleaved process per policy",
        "not compared",
        "All tokens are those",
        "+0.0000 against the whole",
    ):
        assert words in ended.out, ended.out
    jobs = [json.loads(row["job_json"]) for row in home.rows() if row["measure"] == "latency"]
    assert {job["policy"] for job in jobs} == {name.removeprefix("+ ") for name in names}
    assert len([row for row in home.rows() if row["measure"] == "quality"]) == 1
    drawn = home.harness("figure", "ablation", "--output", "steps.svg")
    assert drawn.code == 0, drawn.err
    svg = (home.folder / "steps.svg").read_text()
    assert all(f">{name}<" in svg for name in names)
    assert "All tokens are those of the whole model" in drawn.out
    home.harness("figure", "ablation", "--session", "zzz").explained(3, "No session", "harness report --list")


def test_what_predictors_miss_and_what_fio_reads_are_in_the_table(home: Home, model: Path) -> None:
    ended = home.harness(*run(model, "--predictor", "low-rank", "--window", 3, "-n", 1, "--no-memory", *QUICK))
    assert ended.code == 0, ended.err
    for words in ("neurons chosen: low-rank", "active neurons that predictors miss", "loss by neurons missed"):
        assert words in ended.out, ended.out
    scalars = {row["name"]: row for row in home.rows("scalars")}
    counts = {name: scalars[f"predictor_{name}"]["value"] for name in ("active", "predicted", "missed", "false_alarms")}
    assert counts["active"] - counts["missed"] == counts["predicted"] - counts["false_alarms"] > 0
    peer = scalars["peer_ratio"]
    if shutil.which("fio"):
        assert peer["value"] > 0
        assert scalars["peer_read_bytes"]["value"] == 512
    else:
        assert peer["reason"] == "fio is not installed"


def test_without_a_text_prompts_are_said_to_be_random(home: Home, model: Path) -> None:
    options = ("--scenario", "flash", "--window", 3, "-n", 1, "--no-memory", "--no-peer", *QUICK)
    ended = home.harness("run", "-t", "x86", "-m", model, *options)
    assert ended.code == 0, ended.err
    assert "prompts of random tokens, as there is no text" in " ".join(ended.out.split())


def test_a_device_without_the_engine_makes_the_reads_alone(
    home: Home, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home.folder.joinpath("cache").mkdir(exist_ok=True)
    shared_folder(home.folder / "cache", tmp_path_factory)
    ended = home.harness(*run(model, "--runtime", "native", "--ablate", "--window", 3, "-n", 1, "--no-memory", *QUICK))
    if "no C++ compiler" in ended.err:
        pytest.skip(ended.err)
    assert ended.code == 0, ended.err
    assert "Only the reads were made on this device" in ended.out
    lines = {line.split("  ")[0].strip(): line for line in ended.out.splitlines()}
    assert lines["+ bundling"].count("not measured") == 3, "memory, compute, total per token"
    assert "not measured" in lines["+ pipeline"]
    assert not [row for row in home.rows() if row["measure"] == "quality"]
    reasons = {row["reason"] for row in home.rows("scalars") if row["name"] == "loss_nats"}
    assert reasons == {"only reads are made on this device, and nothing is computed"}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--window", "40"), 1, "A window of 40 tokens is longer than the prompt of 8"),
        (("--dram-budget", "lots"), 2, "no number of bytes"),
        (("--ablate", "--policy", "none"), 2, "Give --ablate or --policy, not both"),
        (("--policy", "none,bundled"), 2, "no policy 'bundled'"),
        (("--ablate", "--threads", "1,2"), 2, "An ablation has one condition"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(
    options: tuple[str, ...], code: int, words: str, home: Home, model: Path
) -> None:
    ended = home.harness(*run(model, *options, "-n", 1, "--no-memory", "--no-quality", *QUICK))
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert words in ended.err


def test_options_and_models_of_other_scenarios(home: Home, model: Path) -> None:
    home.harness("run", "-t", "x86", "-m", model, "--window", 3).explained(2, "Only --scenario flash takes --window")
    home.harness("run", "-t", "x86", "-m", "nobody", "--scenario", "flash").explained(2, "neither a file nor the name")
