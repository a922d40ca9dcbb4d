"""The bound from the command line: a file of a trained model, built, checked and run; and what is said without a
compiler.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from bound_on_disk import write_bound
from cli.driving import HARNESS, QUICK, Ended, Home

from harness.bound.library import compiler, missing

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("bound"))


def without_compiler(home: Home, *arguments: object) -> Ended:
    """A command where no program can be found, with a cache in which nothing was compiled."""
    environment = home.environment() | {"PATH": "", "HARNESS_CACHE": str(home.folder / "empty")}
    environment.pop("CC", None)
    command = [HARNESS, *map(str, arguments)]
    ended = subprocess.run(
        command, cwd=home.folder, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.skipif(missing() is not None, reason=f"the bound is not available: {missing()}")
def test_a_trained_model_is_built_checked_and_run(home: Home) -> None:
    built = home.harness("models", "build", "priced-small", "--format", "bound", "--output", "p.bound")
    assert built.code == 0, built.err
    quality = json.loads((home.folder / "p.bound.json").read_text())["quality"]
    assert quality["checked_tokens"] == 512
    assert quality["loss_difference_nats"] <= quality["loss_difference_allowed_nats"] == 0.002
    assert quality["greatest_tie_spreads"] <= quality["tie_allowed_spreads"]
    generate = ("--scenario", "generate", "--prompt-tokens", 4, "--new-tokens", 3)
    ran = home.harness("run", "-t", "x86", "-n", 1, *generate, *QUICK, "-m", "p.bound")
    assert ran.code == 0, ran.err
    assert "yardstick" in ran.out
    (settings,) = {row["settings_json"] for row in home.rows() if row["measure"] == "latency"}
    assert json.loads(settings)["runtime"] == "bound"


def test_without_a_compiler_it_is_one_sentence(home: Home) -> None:
    write_bound(home.folder / "m.bound")
    without_compiler(home, "run", "-t", "x86", "-n", 1, "-m", "m.bound").explained(2, "no C compiler", "gcc")


def test_a_precision_that_it_does_not_have_is_refused(home: Home) -> None:
    asked = home.harness("models", "build", "baseline-small", "--format", "bound", "--precision", "int4-group32")
    asked.explained(2, "has a step for each output channel, and none for groups")


def test_a_damaged_file_is_one_sentence(home: Home, tmp_path: Path) -> None:
    content = write_bound(tmp_path / "m.bound").read_bytes()
    (home.folder / "cut.bound").write_bytes(content[: len(content) // 2])
    ended = home.harness("run", "-t", "x86", "-n", 1, *QUICK, "-m", "cut.bound")
    assert ended.code != 0
    assert "cut short" in ended.err + ended.out
    assert "Traceback" not in ended.err + ended.out
