"""`--resolve`, `--max-time` and `--dry-run` of `harness run`, with a real tiny model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models

LATENCY_ALONE = ("--no-memory", "--no-quality", *QUICK)
# Nothing is as quiet as that, and it is over when the first blocks have ended.
SOON_OVER = ("--resolve", "0.1%", "--max-time", "100ms")


def two(models: Models) -> tuple[object, ...]:
    return ("run", "-t", "x86", "-m", models.mlp, "-m", models.other)


def resolution(home: Home) -> dict[str, Any]:
    (comparison,) = json.loads(home.harness("compare", "--json").out)["data"]["comparisons"]
    found: dict[str, Any] = comparison["resolution"]
    return found


def test_a_dry_run_says_what_would_be_run_and_leaves_nothing(home: Home, models: Models) -> None:
    ended = home.harness(*two(models), "--dry-run", "--threads", "1,2", "-n", 7)
    assert ended.code == 0, ended.err
    assert "single-stream, 1 thread: mlp (baseline), other; 7 interleaved processes per model" in ended.out
    assert "single-stream, 2 threads: mlp (baseline), other" in ended.out
    assert "12 for memory, 28 for latency, 2 for quality" in ended.out
    assert "not known: these models were not measured so on this device before; a first run tells." in ended.out
    assert "28 s of measuring at least, by --min-duration, and about " in ended.out
    assert "to start 42 processes" in ended.out
    assert {path.name for path in home.folder.iterdir()} == {"cache"}


def test_a_dry_run_of_what_cannot_be_described_fails_and_leaves_nothing(home: Home, models: Models) -> None:
    (home.folder / "damaged.pte").write_bytes(b"no program")
    ended = home.harness("run", "-t", "x86", "-m", "damaged.pte", "--dry-run")
    assert ended.code == 1
    assert "failed describe damaged" in ended.err
    assert {path.name for path in home.folder.iterdir()} == {"cache", "damaged.pte"}


def test_time_ends_a_run_that_says_how_far_it_came_and_goes_on_later(home: Home, models: Models) -> None:
    ended = home.harness(*two(models), *SOON_OVER, *LATENCY_ALONE)
    assert ended.code == 0, ended.err
    assert "0.1 % asked: --max-time is over" in ended.err
    assert "Asked to resolve 0.1 %, reached " in ended.out
    assert "time was over, or it was cut short." in ended.out
    assert home.harness("compare").out == ended.out
    found = resolution(home)
    assert (found["asked"], found["reached"], found["processes"]) == (0.001, False, 5)
    assert found["shows"] > 0.001

    as_json = json.loads(home.harness(*two(models), "--dry-run", *SOON_OVER, *LATENCY_ALONE, "--json").out)["data"]
    (condition,) = as_json["conditions"]
    assert (condition["models"], condition["processes"], condition["earlier_processes"]) == (["mlp", "other"], 5, 10)
    assert condition["shows"] > 0.001
    assert as_json["passes"] == [{"measure": "latency", "processes": 10, "models": ["mlp", "other"]}]
    assert len(home.rows()) == 10

    again = home.harness(*two(models), *SOON_OVER, *LATENCY_ALONE, "--skip-existing")
    assert again.code == 0, again.err
    assert "10 of 10 jobs are there" in again.err
    assert len({run["session_id"] for run in home.rows()}) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-time", "1m"), "--max-time ends the adding of blocks."),
        (("--resolve", "5%", "--max-time", "1"), "'1' is no time."),
        (("--resolve", "5%", "-n", "3"), "The spread of 3 processes says too little to stop by."),
        (("--resolve", "5%", "--scenario", "sustained"), "there are no blocks to add."),
        (
            ("--resolve", "5%", "--scenario", "server", "--latency-bound", "15ms"),
            "Each model is measured at its own highest rate",
        ),
    ],
)
def test_what_cannot_be_resolved_is_refused_in_a_sentence(
    home: Home, models: Models, options: tuple[str, ...], words: str
) -> None:
    home.harness(*two(models), *options).explained(2, words)
    assert home.rows() == []


@pytest.mark.parametrize("wrong", ["nan"])
def test_a_difference_is_a_percentage(home: Home, models: Models, wrong: str) -> None:
    ended = home.harness(*two(models), "--resolve", wrong)
    assert ended.code == 2
    assert "Write a difference between 0.1% and 100%, such as 5%." in ended.err


def test_one_model_alone_has_no_difference(home: Home, models: Models) -> None:
    home.harness("run", "-t", "x86", "-m", models.mlp, "--resolve", "5%").explained(2, "there is one", "second --model")
