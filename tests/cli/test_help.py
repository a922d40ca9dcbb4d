"""What the command line says before anything is measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from cli.driving import HARNESS, Home

from harness.cli import COMMANDS
from harness.target import target_names

HEAVY = {"torch", "executorch", "pandas", "pyarrow", "scipy", "numpy"}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((command, "--help") for command in COMMANDS)])
def test_help_answers_at_once_since_it_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", HARNESS, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in ended.stderr.splitlines()
        if "import time:" in line
    }
    assert "click" in imported, "the check itself is broken"
    assert not imported & HEAVY


def test_the_list_of_models_needs_no_torch() -> None:
    """Nor does finding a file that is built: it is asked for by every run."""
    looked = "import sys; from harness.cli import cli; cli(['models', 'list', '--json'], standalone_mode=False); "
    looked += "from harness.models.zoo.artifacts import built; assert built('baseline') is None; "
    command = [sys.executable, "-P", "-c", looked + "print('torch' in sys.modules, file=sys.stderr)"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr == "False\n"
    assert json.loads(ended.stdout)["kind"] == "models"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example_and_explains_its_options(home: Home, command: str) -> None:
    ended = home.harness(command, "--help")
    assert ended.code == 0, ended.err
    if command == "models":
        ended = home.harness("models", "build", "--help")  # it has commands of its own, and they have the examples
    assert re.search(rf"^ +harness {command}", ended.out.partition("Usage:")[2].partition("\n")[2], re.MULTILINE)
    assert f"{command} " in home.harness("-h").out


def test_version_is_that_of_the_package(home: Home) -> None:
    from harness import __version__

    assert home.harness("--version").out.split() == ["harness,", "version", __version__]


def test_targets_tell_what_they_can_measure_and_what_they_lack(home: Home) -> None:
    rows = json.loads(home.harness("targets", "--json").out)["data"]
    assert [row["target"] for row in rows] == target_names()
    for row in rows:
        assert row["available"] or (row["reason"] and row["todo"])
        assert "capabilities" not in row or {"formats", "latency", "scenarios", "memory"} <= row["capabilities"].keys()
    text = home.harness("targets")
    assert text.code == 0
    assert all(row["target"] in text.out for row in rows)
