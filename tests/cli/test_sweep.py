"""One run with a sweep, a pinned processor and the same model twice; printed as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models

from harness.api.zoo import Zoo
from harness.experiment.request import NamedModel
from harness.experiment.subjects import find_files
from harness.target import find_target


def test_a_sweep_makes_a_table_a_condition_and_the_same_model_twice_has_two_names(home: Home, models: Models) -> None:
    cpu = min(os.sched_getaffinity(0))
    ended = home.harness(
        "run",
        "-t",
        "x86",
        "-m",
        models.mlp,
        "-m",
        models.mlp,
        "--threads",
        "1,2",
        "--cpus",
        cpu,
        "--batch",
        2,
        "-n",
        1,
        "--scenario",
        "offline",
        "--no-memory",
        "--no-quality",
        "--json",
        "-q",
        *QUICK,
    )
    assert ended.code == 0, ended.err
    assert ended.err == "", "quiet"
    comparisons = json.loads(ended.out)["data"]["comparisons"]
    assert [(c["condition"]["threads"], c["condition"]["cpus"], c["condition"]["batch"]) for c in comparisons] == [
        (1, str(cpu), 2),
        (2, str(cpu), 2),
    ]
    for comparison in comparisons:
        first, second = comparison["models"]
        assert [first["model"], second["model"]] == ["mlp", "mlp#2"]
        assert first["sha256"] == second["sha256"]
        metrics = {row["metric"]: row["models"] for row in comparison["metrics"]}
        assert all(figure["value"] > 0 for figure in metrics["samples_per_s"])
        assert "steady_latency_ns_p50" not in metrics
    assert sorted((run["model"], run["threads"]) for run in home.rows()) == [
        ("mlp", 1),
        ("mlp", 2),
        ("mlp#2", 1),
        ("mlp#2", 2),
    ]
    assert not any("not_pinned" in run["flags"] for run in home.rows())


def test_files_of_several_formats_are_told_apart_by_their_endings(tmp_path: Path) -> None:
    for name in ("net.pte", "net.onnx", "other.pte"):
        (tmp_path / name).touch()
    given = [NamedModel(str(tmp_path / name)) for name in ("net.pte", "net.onnx", "other.pte", "net.onnx")]
    names = list(find_files(given, find_target("x86"), Zoo(), print))
    assert names == ["net.pte", "net.onnx", "other", "net.onnx#2"]


@pytest.mark.parametrize("name", ["mlp", "mlp#2", "a#b", "a"])
def test_no_model_is_lost_when_names_repeat(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.pte").touch()
    (tmp_path / "a#2.pte").touch()
    texts = [str(tmp_path / f"{name}.pte")] * 3 + [str(tmp_path / "a#2.pte")]
    found = find_files([NamedModel(text) for text in texts], find_target("x86"), Zoo(), print)
    assert [str(path) for path in found.values()] == texts
    assert next(iter(found)) == name
