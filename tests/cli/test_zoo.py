"""`harness zoo run`: which models, in which sessions, going on with a stopped run, the table and figure."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.jobs import language_model
from fakes.target import CAPABILITIES, DONE, HELLO, FakeTarget, Script, fails, samples, say
from hypothesis import given
from hypothesis import strategies as st

from harness.api import zoo_run, zoo_selection
from harness.api.sharding import shards
from harness.api.zoo_selection import select
from harness.cli import cli
from harness.cli.zoo import running
from harness.errors import HarnessError, ModelError, UsageError
from harness.experiment import run as experiment
from harness.job import Files, Job
from harness.manifest import Manifest, sha256_file, write_manifest
from harness.models.zoo import recipes
from harness.models.zoo.recipes import Zoo

RECIPE = """
data_sha256 = "00"
[models.NAME.architecture]
vocabulary_size = 11
context = 8
layers = 1
heads = 1
width = 8
activation = "gelu"
[models.NAME.training]
steps = 1
batch = 1
seed = 1
rate = 1e-3
"""
TOML = (
    '[models.base]\nmethod = "baseline"\nprecision = "fp32"'
    + RECIPE.replace("NAME", "base")
    + '[models.grown]\nmethod = "ternary"\nprecision = "int4"\nparent = "base"'
    + RECIPE.replace("NAME", "grown")
    + '[models.other]\nmethod = "baseline"\nprecision = "fp32"'
    + RECIPE.replace("NAME", "other")
    + """
[compressed.gptq4]
parent = "base"
method = "gptq"
options = { bits = 4 }
[compressed.gptq3]
parent = "base"
method = "gptq"
options = { bits = 3 }
[compressed.svd]
parent = "base"
method = "svd"
options = { share = 0.8 }
[compressed.foreign]
parent = "other"
method = "absmax"
"""
)
FAMILIES = {"base": None, "grown": "in training", "svd": "low rank"}
TIMED = replace(CAPABILITIES, formats=(".pte",), scenarios=("generate",))


@given(st.lists(st.text(), unique=True, max_size=60), st.integers(1, 20))
def test_every_model_is_in_one_shard_and_shards_are_about_as_long(models: list[str], most: int) -> None:
    parts = shards(models, most)
    assert [name for part in parts for name in part] == models
    lengths = [len(part) for part in parts]
    assert all(0 < length <= most for length in lengths)
    assert max(lengths, default=0) - min(lengths, default=0) <= 1
    assert len(parts) == -(-len(models) // most)


def test_a_shard_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 models"):
        shards(["a"], 0)


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Tiny recipes, all with weights but `svd`'s parent's other child."""
    made = recipes.parse(tomllib.loads(TOML))
    monkeypatch.setattr(running, "packaged", lambda: made)
    monkeypatch.setattr(zoo_selection, "_lacks", lambda name: "it has no weights yet" if name == "grown" else None)
    return made


def test_models_are_those_of_the_parent_by_family_and_pattern(zoo: Zoo) -> None:
    everything = select(zoo, "base")
    assert [choice.name for choice in everything.models] == ["grown", "gptq4", "gptq3", "svd"]
    assert [choice.family for choice in everything.models][::3] == ["in training", "low rank"]
    assert everything.buildable == ["gptq4", "gptq3", "svd"]
    assert select(zoo, "base", families=["low rank"]).buildable == ["svd"]
    assert select(zoo, "base", patterns=["gptq*"]).buildable == ["gptq4", "gptq3"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"parent": "base", "patterns": ["awq*"]}, "awq"),
        ({"parent": "base", "families": ["adapters"]}, "adapters"),
        ({"parent": "base", "families": ["low rank"], "patterns": ["gptq*"]}, "gptq"),
        ({"parent": "nobody"}, "nobody"),
        ({"parent": "svd"}, "svd"),
        ({"parent": "grown"}, "grown"),
    ],
)
def test_what_selects_nothing_is_refused(zoo: Zoo, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        select(zoo, **asked)


def test_a_selection_of_the_real_zoo_has_every_model_of_its_parent() -> None:
    real = recipes.packaged()
    chosen = {choice.name for choice in select(real, None).models}
    assert {name for name, recipe in real.compressed.items() if recipe.parent == "baseline-6x384"} <= chosen
    assert "selfcomp-relu-6x384" in chosen  # its parent is made from the parent
    assert "baseline-6x384" not in chosen


@pytest.fixture
def harness(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """A command of harness; models are built as files of their name, and `broken` ones are not."""
    broken = {"gptq3"}

    def find_or_build(wanted: list[tuple[str, str]], note: Callable[[str], None]) -> list[Path]:
        ((name, _),) = wanted
        if name in broken:
            raise ModelError("It cannot be compressed.", "Choose another.")
        note(f"building {name}, once")
        path = tmp_path / f"{name}.pte"
        path.write_text(name)
        write_manifest(path, manifest_of(path, name))
        return [path]

    def built(name: str, precision: str | None, fmt: str) -> Path | None:
        path = tmp_path / f"{name}.pte"
        return path if path.exists() else None

    def run(*arguments: str, target: FakeTarget | None = None, mended: bool = False) -> Result:
        if mended:
            broken.clear()
        monkeypatch.setattr(experiment, "find_target", lambda name, **_: target or fake())
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(cli, list(arguments), env={"COLUMNS": "200"})

    monkeypatch.setattr(zoo_run, "find_or_build", find_or_build)
    monkeypatch.setattr(zoo_run, "built", built)
    monkeypatch.setattr(zoo_run, "zoo_format", lambda path, target: (path.name, "pte"))
    return run


def manifest_of(path: Path, name: str) -> Manifest:
    return Manifest(
        name=name,
        method={"base": "baseline", "svd": "svd"}.get(name, "gptq"),
        artifact_sha256=sha256_file(path),
        artifact_bytes=path.stat().st_size,
        precision="fp32",
        parameters=100,
        parent=None if name == "base" else "base",
        bits_per_weight=4.0,
        bits_per_weight_stored=4.0,
        weights_bytes=1000 + len(name),
        family=FAMILIES.get(name, "after training, 4 bit and less"),
        quality={"loss": 1.5 + 0.01 * len(name)},
    )


def fake(failing: str = "") -> FakeTarget:
    def script(job: Job, files: Files) -> Script:
        if job.measure == "describe":
            return (HELLO, say(language_model()), DONE)
        if job.model == failing:
            return (HELLO, fails("model", "It is damaged."))
        taken = 1000 + 10 * len(job.model) + job.block
        return (HELLO, samples(taken, taken, phase="decode"), samples(9 * taken, phase="prefill"), DONE)

    return FakeTarget(script, capabilities=TIMED)


RUN = (
    "zoo",
    "run",
    "-t",
    "fake",
    "--parent",
    "base",
    "-n",
    "2",
    "--no-memory",
    "--per-session",
    "1",
    "--min-duration",
    "0",
)


def data(result: Result) -> dict[str, Any]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    read: dict[str, Any] = json.loads(result.stdout)
    assert read["kind"] == "zoo"
    found: dict[str, Any] = read["data"]
    return found


def test_from_the_zoo_to_a_table_and_a_figure(harness: Callable[..., Result], tmp_path: Path) -> None:
    ended = harness(*RUN, "--json", "--quiet")
    told = data(ended)
    assert ended.exit_code == 1  # one could not be built, and the others went on
    assert [session["models"] for session in told["sessions"]] == [["gptq4"], ["svd"]]
    assert list(told["not_built"]) == ["gptq3"]
    assert "cannot be compressed" in told["not_built"]["gptq3"]
    assert told["left_out"] == {"grown": "it has no weights yet"}
    assert len({session["session_id"] for session in told["sessions"]}) == 2

    table = harness("table", "zoo.toml")
    assert table.exit_code == 0, table.output
    rows = {line.split(" · ")[0].strip("| "): line for line in table.output.splitlines() if " · " in line}
    assert "after training, 4 bit and less" in rows["gptq4"]
    assert "speedup about 3.25×; GPTQ, NVIDIA A100, against FP16" in rows["gptq4"]
    assert "Frantar et al. 2022, GPTQ, arXiv:2210.17323, abstract" in table.output
    assert "uncompressed" in rows["base"]
    assert "low rank" in rows["svd"]
    assert "1.55" in rows["gptq4"]  # the loss of the manifest: there is no text for this model

    figure = harness(
        *("figure", "pareto", "--session", "all", "--cost", "decode_latency_ns_p50", "--marks", "family"),
        *("--output", str(tmp_path / "zoo.svg"), "--json"),
    )
    assert figure.exit_code == 0, figure.output
    points = json.loads(figure.stdout)["data"]["panels"][0]["models"]
    assert {point["model"]: point["group"] for point in points} == {
        "base": "uncompressed",
        "gptq4": "after training, 4 bit and less",
        "svd": "low rank",
    }


def test_a_stopped_run_goes_on_with_what_lacks_results(harness: Callable[..., Result]) -> None:
    first = data(harness(*RUN, "--json", "--quiet", target=fake("svd")))
    assert [session["models"] for session in first["sessions"]] == [["gptq4"], ["svd"]]
    assert [bool(session["failures"]) for session in first["sessions"]] == [False, True]
    dry = data(harness(*RUN, "--skip-existing", "--dry-run", "--json", mended=True))
    assert [shard["models"] for shard in dry["shards"]] == [["gptq4"], ["gptq3"], ["svd"]]
    assert dry["to_build"] == ["gptq3"]
    assert dry["estimated_s"] is None or dry["estimated_s"] > 0

    target = fake()
    again = data(harness(*RUN, "--json", "--quiet", "--skip-existing", target=target))
    assert [session["models"] for session in again["sessions"]] == [["gptq4"], ["gptq3"], ["svd"]]
    assert [session["resumed"] for session in again["sessions"]] == [True, False, False]
    assert again["sessions"][0]["session_id"] == first["sessions"][0]["session_id"]
    measured = [job.model for job in target.launched if job.measure == "latency"]
    assert "gptq4" not in measured
    assert measured.count("base") == 4  # once a block of each new session
    everything = data(harness(*RUN, "--json", "--quiet", "--skip-existing", target=(third := fake())))
    assert all(session["resumed"] for session in everything["sessions"])
    assert [job for job in third.launched if job.measure != "describe"] == []


def test_a_dry_run_builds_and_stores_nothing(harness: Callable[..., Result], tmp_path: Path) -> None:
    ended = harness(*RUN, "--dry-run")
    assert ended.exit_code == 0, ended.output
    assert "To build, 4: base, gptq4, gptq3, svd." in ended.output
    assert "Session 3 of 3: base (baseline), svd." in ended.output
    assert "left out, grown: it has no weights yet" in ended.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("pattern", "words"), [("nothing*", "nothing"), ("grown", "it has no weights yet")])
def test_a_selection_of_nothing_ends_with_2(harness: Callable[..., Result], pattern: str, words: str) -> None:
    ended = harness(*RUN, "-m", pattern)
    assert isinstance(ended.exception, UsageError)
    assert words in str(ended.exception)
    assert ended.exception.exit_code == 2


def test_without_a_parent_there_is_no_run(harness: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(wanted: list[tuple[str, str]], note: Callable[[str], None]) -> list[Path]:
        raise ModelError("It is broken.", "Mend it.")

    monkeypatch.setattr(zoo_run, "find_or_build", none)
    ended = harness(*RUN)
    assert isinstance(ended.exception, HarnessError)
    assert "base, the parent, cannot be built" in str(ended.exception)
