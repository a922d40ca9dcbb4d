"""`harness run --target arm64` without a device: a table of instructions, and no latency anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models
from native_bundles import shared_folder

from harness.target import find_target, target_names


@pytest.fixture
def emulated(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    if "arm64" not in target_names() or not (state := find_target("arm64", device="qemu").availability()).available:
        pytest.skip(f"arm64 cannot be emulated here: {state.reason if 'arm64' in target_names() else 'not installed'}")
    cache = home.folder / "cache"
    cache.mkdir(exist_ok=True)
    shared_folder(cache, tmp_path_factory)
    return home


def test_two_models_are_compared_by_instructions(emulated: Home, models: Models, tmp_path: Path) -> None:
    ended = emulated.harness("run", "-t", "arm64", "--device", "qemu", "-m", models.mlp, "-m", models.other)
    assert ended.code == 0, ended.err
    assert "inference, instructions" in ended.out
    assert "cortex-a76 (emulated)" in ended.out
    assert "instructions counted, no latency" in ended.out
    assert "argmax agreement with x86" in ended.out
    assert not any(word in ended.out for word in (" µs", " ms", "tokens/s", "latency p50"))
    rows = emulated.rows("samples")
    assert rows
    assert all(row["duration_ns"] is None and row["instructions"] > 0 for row in rows)
    runs = emulated.rows()
    assert {row["latency_kind"] for row in runs} == {None}
    assert {row["flags"] is None or not row["flags"] for row in runs} == {True}
    said = json.loads(emulated.harness("compare", "--json").out)["data"]
    assert "_instructions" in json.dumps(said)


def test_a_regression_of_a_hundredth_in_one_layer_is_seen(emulated: Home, models: Models) -> None:
    ended = emulated.harness(
        *("run", "-t", "arm64", "--device", "qemu", "-m", models.deep, "-m", models.heavier, "--no-quality", *QUICK)
    )
    assert ended.code == 0, ended.err
    metrics = json.loads(emulated.harness("compare", "--json").out)["data"]["comparisons"][0]["metrics"]
    deep, heavier = next(found["models"] for found in metrics if found["metric"] == "steady_instructions")
    assert len(set(deep["values"])) == len(set(heavier["values"])) == 1, "counts are exact"
    assert 0.985 < heavier["versus_baseline"]["value"] < 0.995
    assert heavier["versus_baseline"]["reason"] is None


def test_operators_cannot_be_timed_there(emulated: Home, models: Models) -> None:
    ended = emulated.harness("run", "-t", "arm64", "--device", "qemu", "-m", models.mlp, "--profile")
    ended.explained(2, "no clock", "--profile")
