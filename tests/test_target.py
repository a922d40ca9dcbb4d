"""Finding targets, ours and other people's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.target import find_target, target_names

MODULE = """
from harness.target import Availability, Capabilities

class Toaster:
    name = "toaster"
    summary = "a toaster"
    capabilities = Capabilities(formats=(".toast",), latency=None, scenarios=("single-stream",), energy=True)

    def availability(self):
        return Availability(False, "no toaster is plugged in", "Plug one in.")

class Grumpy:
    def __init__(self):
        raise RuntimeError("not today")
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with an installed distribution that brings targets of its own, good and bad."""
    (tmp_path / "outside_targets.py").write_text(MODULE)
    information = tmp_path / "fake-0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 0\n")
    (information / "entry_points.txt").write_text(
        "[harness.targets]\ntoaster = outside_targets:Toaster\nlost = outside_targets_that_are_absent:Lost\n"
        "misspelt = outside_targets:Tosater\ngrumpy = outside_targets:Grumpy\n"
    )
    return tmp_path


@pytest.fixture
def installed(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same distribution, visible to this process."""
    monkeypatch.syspath_prepend(str(outside))
    monkeypatch.delitem(sys.modules, "outside_targets", raising=False)


def test_our_own_target_is_found() -> None:
    assert "x86" in target_names()
    assert find_target("x86").name == "x86"


@pytest.mark.usefixtures("installed")
def test_other_peoples_targets_are_found_beside_ours() -> None:
    assert {"x86", "toaster"} <= set(target_names())
    assert target_names() == sorted(target_names())
    assert find_target("toaster").capabilities.formats == (".toast",)


@pytest.mark.usefixtures("installed")
def test_an_unknown_target_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(UsageError, match="no target 'toster'") as caught:
        find_target("toster")
    assert "toaster" in caught.value.hint
    assert "x86" in caught.value.hint


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["lost", "misspelt", "grumpy"])
def test_a_target_that_cannot_be_loaded_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}.* cannot be loaded"):
        find_target(name)


def test_the_command_line_lists_other_peoples_targets_and_what_is_wrong_with_them(outside: Path) -> None:
    points = outside / "fake-0.dist-info" / "entry_points.txt"
    points.write_text(
        "".join(line for line in points.read_text().splitlines(True) if not line.startswith(("misspelt", "grumpy")))
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from harness.cli import main; main()", "targets", "--json"],
        cwd=outside,
        env={**os.environ, "PYTHONPATH": str(outside)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["target"]: row for row in json.loads(done.stdout)["data"]}
    assert {"x86", "toaster", "lost"} <= set(rows)
    assert (rows["toaster"]["available"], rows["toaster"]["todo"]) == (False, "Plug one in.")
    assert rows["toaster"]["capabilities"]["energy"] is True
    assert rows["lost"]["available"] is False
    assert "outside_targets_that_are_absent" in rows["lost"]["reason"]
