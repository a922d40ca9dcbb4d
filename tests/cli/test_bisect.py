"""`harness bisect` on a real repository and real files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models

FAST = ("--", *QUICK, "--processes", "5")


@pytest.fixture
def repository(home: Home, models: Models) -> Home:
    """A model that grew, was taken back, and grew again in the third of four commits; the last has another file."""
    model = models.mlp.read_bytes()
    _git(home.folder, "init", "-q", "-b", "main")
    for number, data in enumerate((model, model + bytes(1000), model, model + bytes(1000))):
        (home.folder / "m.pte").write_bytes(data)
        _git(home.folder, "add", "m.pte")
        _git(home.folder, "commit", "-q", "-m", f"step {number}")
        _git(home.folder, "tag", f"v{number}")
    _git(home.folder, "commit", "-q", "--allow-empty", "-m", "something else")
    return home


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_that_made_a_file_worse_is_named(repository: Home) -> None:
    asked = ("bisect", "v0", "main", "--file", "m.pte", "-t", "x86", "--metric", "model_bytes")
    ended = repository.harness(*asked, "--json", "-q", "--", *QUICK, "--processes", "1")
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)["data"]
    assert made["first"]["words"] == "step 3"
    assert made["first"]["label"] in made["answer"]
    (step,) = made["steps"]
    assert step["slower"], "equal files are measured once, and those of the good commit not at all"
    assert step["verdict"]["ratio"] > 1.1


def test_two_files_are_one_interleaved_comparison(home: Home, models: Models) -> None:
    ended = home.harness("bisect", models.mlp, models.other, "-t", "x86", "--json", *FAST)
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)["data"]
    assert made["metric"] == "steady_latency_ns_p50"
    (step,) = made["steps"]
    assert step["verdict"]["processes"] == 5
    if step["verdict"]["ratio"] is None:  # on a loaded machine five processes may disagree by a factor of 100
        assert "disagree" in step["verdict"]["reason"]
    else:
        assert step["verdict"]["low"] < step["verdict"]["ratio"] < step["verdict"]["high"]
    same = home.harness("bisect", models.mlp, models.mlp, "-t", "x86", *FAST)
    assert same.code == 0, same.err
    assert same.out == f"{models.mlp} has the very file of {models.mlp}: nothing was measured.\n"


def test_what_cannot_be_bisected_is_one_sentence(repository: Home, models: Models) -> None:
    def said(*arguments: object) -> None:
        *asked, word = arguments
        repository.harness("bisect", *asked).explained(2, str(word))

    said("v0", "main", "-t", "x86", "no file v0")
    said("v0", "nothing", "--file", "m.pte", "-t", "x86", "'nothing' is neither")
    said("main", "v0", "--file", "m.pte", "-t", "x86", "no ancestor")
    said("v0", "main", "--file", "n.pte", "-t", "x86", "has no file n.pte")
    said("v0", "main", "--file", "m.pte", "-t", "x86", "--metric", "loss_nats", "no ratio")
    said("v0", "main", "--file", "m.pte", "-t", "x86", "--", "--processes", "0", "refuse")


def test_a_damaged_good_file_is_blamed_itself_and_a_damaged_bad_one_leaves_no_answer(
    home: Home, models: Models
) -> None:
    (home.folder / "cut.pte").write_bytes(models.mlp.read_bytes()[:-1000])
    good = home.harness("bisect", "cut.pte", models.mlp, "-t", "x86", *FAST)
    good.explained(1, "harness: cut.pte, the good version, cannot be measured: cut.pte is cut short")
    assert good.out == ""
    bad = home.harness("bisect", models.mlp, "cut.pte", "-t", "x86", "-q", "--json", *FAST)
    assert bad.code == 1
    made = json.loads(bad.out)["data"]
    assert made["answer"].startswith("cut.pte could not be measured: cut.pte is cut short")
    assert made["metric"] is None, "nothing says yet whether it is a language model"


@pytest.mark.parametrize("change", ["nan", "inf", "-0.1", "0"])
def test_a_change_that_is_no_share_is_refused(home: Home, models: Models, change: str) -> None:
    asked = home.harness("bisect", models.mlp, models.other, "-t", "x86", "--min-change", change)
    asked.explained(2, "--min-change is", "Write 0.03 for 3 %.")
