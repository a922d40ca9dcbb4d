"""A runtime that somebody else has installed, measured end to end; and what `--runtime` means for each model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cli.driving import QUICK, Ended, Home
from fakes.runtimes import SOURCE, install_fake
from models_on_disk import Models


@dataclass(frozen=True)
class Installed(Home):
    """A home where the packages in `packages` are installed too."""

    packages: Path

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(self.packages)}


@pytest.fixture
def home(tmp_path: Path) -> Installed:
    (tmp_path / "packages").mkdir()
    (tmp_path / "home").mkdir()
    return Installed(tmp_path / "home", packages=install_fake(tmp_path / "packages"))


def _write(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    layer = {"weight": rng.normal(size=(8, 8)).tolist(), "bias": rng.normal(size=8).tolist()}
    path.write_text(json.dumps(layer))
    return path


def _ended(home: Installed, *arguments: object) -> Ended:
    return home.harness("run", "-t", "x86", "-n", "2", *QUICK, "--batch", "2", *arguments)


def test_a_model_of_a_format_that_harness_knows_nothing_of_is_measured(home: Installed) -> None:
    first, second = _write(home.folder / "model.fake", 0), _write(home.folder / "other.fake", 1)
    ended = _ended(home, "-m", first, "-m", second)
    assert ended.code == 0, ended.err
    rows = home.rows()
    assert {(row["model"], row["measure"]) for row in rows} == {
        (model, measure) for model in ("model", "other") for measure in ("memory", "latency", "quality")
    }
    assert all(row["status"] == "ok" for row in rows)
    assert all("numpy" in row["fingerprint_json"] for row in rows), "its version is part of what rows must agree in"
    scalars = {row["name"]: row["value"] for row in home.rows("scalars")}
    assert scalars["max_abs_difference"] > 0.1
    assert "model" in ended.out
    assert "other" in ended.out


def test_targets_show_their_runtimes(home: Installed) -> None:
    printed = home.harness("targets", "--json")
    rows = {row["target"]: row for row in json.loads(printed.out)["data"]}
    assert {"executorch", "fake", "torch"} <= {row["runtime"] for row in rows["x86"]["runtimes"]}
    (fake,) = (row for row in rows["x86"]["runtimes"] if row["runtime"] == "fake")
    assert (fake["available"], fake["formats"]) == (True, [".fake"])
    assert "fake (.fake)" in home.harness("targets").out


def test_a_runtime_is_chosen_by_name_and_recorded_for_the_models_that_it_loads(home: Installed, models: Models) -> None:
    model = _write(home.folder / "model.fake", 0)
    ended = _ended(home, "-m", model, "-m", models.mlp, "--runtime", "fake", "--no-memory", "--no-quality")
    assert ended.code == 0, ended.err
    assert {(row["model"], row["runtime"]) for row in home.rows()} == {("model", "fake"), ("mlp", None)}


def test_a_runtime_that_loads_none_of_the_models_is_refused(home: Installed, models: Models) -> None:
    ended = _ended(home, "-m", models.mlp, "--runtime", "fake")
    ended.explained(2, "Runtime fake loads none of these models")


def test_a_runtime_that_is_broken_is_nobody_elses_trouble(home: Installed, models: Models) -> None:
    (home.packages / "fake_runtime.py").write_text("raise RuntimeError('not today')\n")
    assert _ended(home, "-m", models.mlp, "--no-memory", "--no-quality").code == 0
    rows = {row["target"]: row for row in json.loads(home.harness("targets", "--json").out)["data"]}
    assert rows["x86"]["available"]
    assert "fake" not in rows["x86"]["capabilities"]["runtimes"]
    assert "not today" in home.harness("targets").out
    _ended(home, "-m", _write(home.folder / "model.fake", 0)).explained(2, "not model.fake", "not today")


def test_the_contract_of_the_documentation_passes(home: Installed, tmp_path: Path) -> None:
    """`docs/code/runtime/test_fake_runtime.py`, as its reader runs it."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SOURCE],
        env=home.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "passed" in ended.stdout
