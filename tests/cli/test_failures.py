"""What goes wrong, and what the user is told: a sentence what happened and one what to do, and the right exit code."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
from cli.driving import QUICK, Ended, Home
from models_on_disk import Models

CUT, NOISE, EMPTY = "a; rm -rf $HOME ", "<script>", "[bold]x"
ONCE = ("-t", "x86", "-n", 1, "--no-memory", *QUICK)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("failures"))


@pytest.fixture(scope="module")
def ran(workshop: Home, models: Models) -> Ended:
    """One good language model without tokens; four files that cannot be measured, three of them with hostile names."""
    (workshop.folder / f"{CUT}.pte").write_bytes(models.mlp.read_bytes()[:-1000])
    (workshop.folder / f"{NOISE}.pte").write_bytes(random.Random(0).randbytes(5000))
    (workshop.folder / f"{EMPTY}.pte").touch()
    names = [f"{name}.pte" for name in (CUT, NOISE, EMPTY)]
    return workshop.harness(
        "run", *ONCE, *(word for name in [*names, models.foreign, models.lm] for word in ("-m", name))
    )


def test_each_bad_file_is_explained_and_the_good_one_measured(ran: Ended) -> None:
    assert ran.code == 1
    assert "Traceback" not in ran.err
    for name, why in (
        (CUT, "cut short"),
        (NOISE, "not an ExecuTorch program"),
        (EMPTY, "is empty"),
        ("foreign", "AcmeNpuBackend"),
    ):
        line = next(line for line in ran.err.splitlines() if line.startswith("failed") and why in line)
        assert name in line
        assert line.endswith(".")
    assert "lm" in ran.out
    assert "decode throughput" in ran.out
    assert "FAILED" in ran.out
    assert " failed, " in ran.err


def test_every_failure_is_a_row(ran: Ended, workshop: Home) -> None:
    rows = {(run["model"], run["measure"]): run for run in workshop.rows()}
    assert set(rows) >= {
        (CUT, "describe"),
        (NOISE, "describe"),
        (EMPTY, "describe"),
        ("foreign", "latency"),
        ("lm", "latency"),
    }
    for (model, _), row in rows.items():
        assert row["status"] == ("ok" if model == "lm" else "failed")
        assert row["error_kind"] == (None if model == "lm" else "model")
        assert bool(row["error_message"]) == (model != "lm")
        assert len(row["model_sha256"]) == 64


def test_the_report_shows_what_failed_and_why(ran: Ended, workshop: Home) -> None:
    ended = workshop.harness("report")
    assert ended.code == 0
    assert "Failures" in ended.out
    for name in (CUT.strip(), NOISE, EMPTY, "foreign"):
        assert name in ended.out
    assert workshop.harness("compare").out == ran.out


def test_quality_that_cannot_be_measured_is_null_with_its_reason(ran: Ended, workshop: Home) -> None:
    comparisons = json.loads(workshop.harness("compare", "--json").out)["data"]["comparisons"]
    (comparison,) = (c for c in comparisons if c["condition"]["scenario"] == "generate")
    figures = {row["metric"]: next(f for f in row["models"] if f["model"] == "lm") for row in comparison["metrics"]}
    assert figures["loss_nats"]["value"] is None
    assert "--tokens" in figures["loss_nats"]["reason"]
    assert figures["perplexity"]["value"] is None
    assert figures["perplexity"]["reason"]
    assert "quality is not measured" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "-t", "toaster", "-m", "mlp.pte"), ("toaster", "x86", "harness targets")),
        (("run", *ONCE, "-m", "absent.pte"), ("absent.pte", "harness models list")),
        (("run", *ONCE, "-m", "folder"), ("folder",)),
        (("run", *ONCE, "-m", "weights.bin"), ("weights.bin", ".pte")),
        (("run", *ONCE, "-m", "mlp.pte", "--scenario", "overnight"), ("overnight", "single-stream")),
        (("run", *ONCE), ("--model",)),
        (("run", *ONCE, "-m", "mlp.pte", "--threads", "1,x"), ("1,x", "1,2,4")),
        (("run", *ONCE, "-m", "mlp.pte", "--threads", "0"), ("0",)),
        (("compare", "--format", "pdf"), ("pdf", "markdown")),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(
    home: Home, models: Models, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    shutil.copy(models.mlp, home.folder / "mlp.pte")
    (home.folder / "weights.bin").write_bytes(b"x")
    (home.folder / "folder").mkdir()
    home.harness(*arguments).explained(2, *words)
    assert not home.rows()


def test_what_a_model_cannot_do_is_exit_code_2_as_well(home: Home, models: Models) -> None:
    home.harness("run", *ONCE, "-m", models.lm, "--prompt-tokens", 8).explained(
        2, "lm", "7 tokens at once", "--prompt-tokens"
    )
    home.harness("run", *ONCE, "-m", models.mlp, "--scenario", "generate").explained(
        2, "mlp", "no language model", "single-stream"
    )
    assert not home.rows()


def test_what_one_model_cannot_do_costs_the_other_no_row(home: Home, models: Models) -> None:
    ended = home.harness("run", *ONCE, "-m", models.mlp, "-m", models.deep, "--batch", 2)
    assert ended.code == 1
    said = " ".join(ended.err.split())
    assert "deep was exported with the fixed sizes [4, 128], so its batch cannot become 2." in said
    runs = {(run["model"], run["measure"]): run for run in home.rows()}
    assert (runs["mlp", "latency"]["status"], runs["mlp", "latency"]["batch"]) == ("ok", 2)
    refused = runs["deep", "describe"]
    assert (refused["status"], refused["error_kind"]) == ("failed", "usage")
    assert refused["model_bytes"] == models.deep.stat().st_size
    assert ended.out.count("latency p50") == ended.out.count("FAILED") == 1, "one table, and it says what failed"


def test_an_empty_store_has_nothing_comparable(home: Home) -> None:
    home.harness("compare").explained(3, "no results", "harness run")
    home.results.mkdir()
    home.harness("report").explained(3, "no results", "harness run")
    home.harness("report", "--list").explained(3, "no results", "harness run")


def test_a_results_folder_that_cannot_be_is_refused_before_anything_is_measured(home: Home, models: Models) -> None:
    (home.folder / "file").write_text("in the way")
    home.harness("run", *ONCE, "-m", models.mlp, "--results", "file/results").explained(1, "file/results", "--results")
    assert (home.folder / "file").read_text() == "in the way"


def test_a_hopeless_run_prints_no_table_and_its_failures_can_be_read(home: Home, models: Models) -> None:
    (home.folder / "cut.pte").write_bytes(models.mlp.read_bytes()[:2000])
    ended = home.harness("run", *ONCE, "-m", "cut.pte", "--json")
    assert ended.code == 1
    assert ended.out == ""
    assert "cut short" in ended.err
    assert "Traceback" not in ended.err
    assert [(run["model"], run["status"]) for run in home.rows()] == [("cut", "failed")]
    home.harness("compare").explained(3, "cut short")
    assert "cut short" in home.harness("report").out


def test_processors_that_are_not_there_are_refused_before_anything_runs(home: Home, models: Models) -> None:
    for cpus in ("4095", "0,4095"):
        for more in ((), ("--dry-run",)):
            ended = home.harness("run", *ONCE, "-m", models.mlp, "--cpus", cpus, *more)
            ended.explained(2, "has no processor 4095 here", "Give some of these with --cpus.")
            assert "describing" not in ended.err
    assert not home.rows()


def test_more_threads_than_processors_are_announced_and_a_thousand_are_the_most(home: Home, models: Models) -> None:
    asked = ("run", *ONCE, "-m", models.mlp, "--cpus", max(os.sched_getaffinity(0)), "--dry-run", "--threads")
    ended = home.harness(*asked, "1,3")
    assert ended.code == 0, ended.err
    assert "3 threads on 1 processor wait for each other" in ended.err
    assert "wait for each other" not in home.harness(*asked, 1).err
    home.harness(*asked, 100_000).explained(2, "threads is 100000.", "Give 1024 or fewer.")


def test_results_in_a_place_that_nothing_opens_are_refused_before_anything_runs(home: Home, models: Models) -> None:
    for place in ("nosuchproto://x", "file:/tmp/x"):
        ended = home.harness("run", *ONCE, "-m", models.mlp, "--results", place)
        ended.explained(2, f"{place} is neither a folder nor a bucket", "s3://BUCKET/PREFIX.")


def test_models_whose_outputs_are_not_compared_say_why(home: Home, models: Models) -> None:
    ended = home.harness("run", *ONCE, "-m", models.mlp, "-m", models.deep)
    assert ended.code == 0, ended.err
    why = "are float32 [4, 128], and those of mlp are float32 [4, 8]; --batch or --inputs may give both the same"
    assert f"deep: its outputs are not compared: its inputs {why}" in ended.err
    assert "max difference of outputs" in ended.out
    assert "its outputs were not compared: its inputs are float32 [4, 128]" in ended.out
    assert why not in home.harness("run", *ONCE, "-m", models.mlp, "-m", models.deep, "--no-quality").err
