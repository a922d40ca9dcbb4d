"""`harness run --scenario flash`: a language model whose feed-forward weights lie in flash, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from flash_on_disk import make_flash_model

from harness.errors import UsageError
from harness.flash.proof import check_storage


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    path = make_flash_model(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))
    try:
        check_storage(path.with_suffix(".plain.neurons"))
    except UsageError as error:
        pytest.skip(str(error))
    return path


def run(model: Path, *more: object) -> tuple[object, ...]:
    text = model.parent / "tokens.npy"
    return ("run", "-t", "x86", "-m", model, "--scenario", "flash", "--tokens", text, "--max-eval-tokens", 32, *more)


def test_a_model_in_flash_is_measured_and_every_token_kept(home: Home, model: Path) -> None:
    ended = home.harness(*run(model, "--window", 3, "--dram-budget", "60kB", "-n", 1, "--json", *QUICK))
    assert ended.code == 0, ended.err
    (comparison,) = json.loads(ended.out)["comparisons"]
    assert comparison["condition"]["scenario"] == "flash"
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
    (io,) = home.rows("io")
    assert io["read_bytes"] >= 0.99 * io["asked_bytes"] > 0
    assert not any("not_from_flash" in row["flags"] for row in home.rows())


def test_the_ablation_has_a_row_a_policy(home: Home, model: Path) -> None:
    ended = home.harness(*run(model, "--ablate", "--window", 3, "-n", 1, "--no-memory", *QUICK))
    assert ended.code == 0, ended.err
    lines = [line.split("  ")[0].strip() for line in ended.out.splitlines()]
    names = ["none", "hybrid", "+ predictor", "+ windowing", "+ bundling", "+ pipeline"]
    assert [line for line in lines if line in names] == names
    for words in ("window 3", "1 interleaved process a policy", "All tokens are those", "+0.0000 against the whole"):
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
