"""Scenarios that look like use, from the command line to the table; and a sweep that is killed and goes on."""

from __future__ import annotations

import json
import signal

import pytest
from cli.driving import QUICK, Home, finish, until_stored
from models_on_disk import Models

FEW = ("--no-memory", "--no-quality", "--min-duration", "0", "--max-warmup", "0")


def test_a_sweep_of_rates_is_a_table_each_and_says_which_rate_held(home: Home, models: Models) -> None:
    load = ("--scenario", "server", "--rate", "2000,4000", "--latency-bound", "1h", "--min-iterations", 459)
    ended = home.harness("run", "-t", "x86", "-m", models.mlp, "-n", 1, *load, *FEW, "--json", "-q")
    assert ended.code == 0, ended.err
    comparisons = json.loads(ended.out)["data"]["comparisons"]
    assert [comparison["condition"]["load"] for comparison in comparisons] == [
        "2000 queries/s, p99 within 3.6e+06 ms",
        "4000 queries/s, p99 within 3.6e+06 ms",
    ]
    for comparison, rate in zip(comparisons, (2000.0, 4000.0), strict=True):
        metrics = {row["metric"]: row["models"][0] for row in comparison["metrics"]}
        assert metrics["server_queries_per_s"]["value"] == pytest.approx(rate)
        assert 0 < metrics["server_latency_ns_p50"]["value"] <= metrics["server_latency_ns_p90"]["value"]
        # 459 of which none is late hold a bound of p99; what p99 is takes 662.
        for name, taken in (("p99", 662), ("p999", 6636)):
            figure = metrics[f"server_latency_ns_{name}"]
            assert figure["value"] is None
            assert f"takes {taken} queries per process, and one had 459: `--min-iterations {taken}" in figure["reason"]
    text = home.harness("compare")
    assert "highest rate within the p99 bound" in text.out
    for words in ("p99 within 3.6e+06 ms", "  2000 queries/s ", "  4000 queries/s "):
        assert words in text.out, text.out


def test_a_sweep_killed_with_9_loses_the_job_in_hand_alone_and_goes_on(home: Home, models: Models) -> None:
    sweep = ("run", "-t", "x86", "-m", models.mlp, "-n", 2, "--threads", "1,2", *FEW[:2], *QUICK)
    process = home.start(*sweep)
    until_stored(home, process, 1)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    before = home.rows()
    assert 1 <= len(before) < 4
    ended = home.harness(*sweep, "--skip-existing")
    assert ended.code == 0, ended.err
    assert f"{len(before)} of 4 jobs are there" in ended.err
    rows = home.rows()
    assert len(rows) == 4, "what had ended was not run again"
    assert {row["attempt_id"] for row in before} < {row["attempt_id"] for row in rows}
    assert len({row["job_id"] for row in rows}) == 4
    assert len({row["session_id"] for row in rows}) == 1
    # The description of the model had the first.
    assert sorted(row["position"] for row in rows) == [1, 2, 3, 4]
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scenario", "server"), "a bound within which to find the highest"),
        (("--scenario", "server", "--latency-bound", "15ms", "--min-iterations", "100"), "100 queries cannot tell p99"),
        (("--scenario", "server", "--rate", "50", "--runtime", "native"), "x86 has no scenario server here"),
        (("--scenario", "sustained", "--duration", "half an hour"), "'half an hour' is no time"),
        (("--rate", "50"), "Only --scenario server takes --rate"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_runs(
    home: Home, models: Models, options: tuple[str, ...], words: str
) -> None:
    home.harness("run", "-t", "x86", "-m", models.mlp, *options).explained(2, words)
    assert not (home.results / "runs").exists()


def test_samples_of_a_query_are_whole_batches(home: Home, models: Models) -> None:
    ended = home.harness("run", "-t", "x86", "-m", models.mlp, "--scenario", "multi-stream", "--streams", "6")
    ended.explained(2, "A query of 6 samples cannot be made of batches of 4")
