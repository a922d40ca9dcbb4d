"""`import harness`: a real run, and what its result gives to programs, people and papers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docs.sources import PAGES, blocks
from fakes.target import CAPABILITIES, DONE, HELLO, FakeTarget, Script, fails, samples, say
from models_on_disk import Models

import harness
from harness.api.result import TABLE_COLUMNS
from harness.experiment.progress import Describing, Ended, Event, Measuring, Note, Working
from harness.experiment.request import read_plan
from harness.job import Files, Job
from harness.protocol import Describe, Progress

QUICK: dict[str, Any] = {"min_duration_s": 0, "min_iterations": 3, "max_warmup_s": 0, "memory": False}
HEAVY = {"torch", "executorch", "pandas", "pyarrow", "numpy", "scipy", "rich", "click"}


def test_the_import_is_light_and_has_everything_that_it_names() -> None:
    code = "import harness, sys; print(*sys.modules); assert set(harness.__all__) <= set(dir(harness))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "harness" in modules, "the check itself is broken"
    assert not modules & HEAVY
    assert all(hasattr(harness, name) for name in harness.__all__)
    with pytest.raises(AttributeError, match="no attribute 'measure'"):
        harness.measure  # noqa: B018


def test_two_real_models_are_measured_and_compared(models: Models, tmp_path: Path) -> None:
    events: list[Event] = []
    result = harness.run(
        target="x86",
        models={"mine": models.mlp, "other": models.other},
        scenario="offline",
        batch=[1, 2],
        processes=2,
        results=tmp_path / "results",
        progress=events.append,
        **QUICK,
    )
    table = result.table()
    assert list(table.columns) == list(TABLE_COLUMNS)
    speed = table[table["metric"] == "samples_per_s"]
    assert list(zip(speed["condition"], speed["model"], strict=True)) == [
        (f"x86, offline, batch {batch}", model) for batch in (1, 2) for model in ("mine", "other")
    ]
    assert (speed["value"] > 0).all()
    assert speed["unit"].unique().tolist() == ["samples/s"]
    assert speed["n"].tolist() == [2] * 4
    assert speed["versus_baseline"].isna().tolist() == [True, False] * 2
    assert result.failures == ()
    assert len(result.comparisons) == 2
    assert set(result.runs["model"]) == {"mine", "other"}
    assert set(result.samples["attempt_id"]) <= set(result.runs["attempt_id"])
    kinds = [type(event) for event in events]
    assert kinds[:3] == [Describing, Describing, Measuring]
    assert sum(kind is Ended for kind in kinds) == len(result.runs) == 10
    again = harness.load_results(tmp_path / "results")
    assert again.to_json() == result.to_json()
    assert again.sessions == result.sessions
    assert result.table("load_ns")["metric"].unique().tolist() == ["load_ns"]
    with pytest.raises(harness.UsageError, match="no metric 'sample_per_s'") as caught:
        result.table("sample_per_s")
    assert "samples_per_s" in caught.value.hint
    assert "other" in result.to_markdown()
    assert "\\toprule" in result.to_latex("samples_per_s")
    shown = result._repr_html_()
    assert shown.startswith("<style>")
    assert shown.endswith("</table>")
    assert "2 interleaved processes" in str(result)
    assert repr(result).startswith("<harness.Result of mine, other: ")


def test_results_of_several_folders_are_compared_as_one(models: Models, tmp_path: Path) -> None:
    parts = [
        harness.run(target="x86", models=[model], processes=2, results=tmp_path / model.stem, **QUICK)
        for model in (models.mlp, models.other)
    ]
    both = harness.compare(*parts)
    (comparison,) = both.comparisons
    assert [model.name for model in comparison.models] == ["mlp", "other"]
    (turned,) = harness.compare(tmp_path / "mlp", tmp_path / "other", baseline="other").comparisons
    assert [model.name for model in turned.models] == ["other", "mlp"]
    assert harness.compare(parts[0], parts[0]).runs["attempt_id"].is_unique
    for wrong in (3, ["load_ns"]):
        for table in (parts[0].table, parts[0].to_latex, parts[0].to_text):
            with pytest.raises(harness.UsageError):
                table(wrong)
    with pytest.raises(harness.NothingComparable, match="No results"):
        harness.compare()


def test_errors_have_a_message_and_a_hint(models: Models, tmp_path: Path) -> None:
    for options, words in (
        ({"target": "x87", "models": [models.mlp]}, "There is no target 'x87'"),
        ({"target": "x86"}, "needs a target and models"),
        ({"target": "x86", "models": ["no-such-model"]}, "neither a file nor the name of a model"),
        ({"target": "x86", "models": [models.mlp], "thread": 2}, "A run has no option 'thread'"),
        ({"target": "x86", "models": [models.mlp], "progress": "x"}, "progress is 'x', and no function"),
        ({"request": {"target": "x86"}}, "A value of type dict is neither a RunRequest nor the path of a plan"),
        ({"request": "no-such.toml"}, "There is no plan no-such.toml"),
    ):
        with pytest.raises(harness.UsageError) as caught:
            harness.run(results=tmp_path, **options)  # type: ignore[arg-type]
        assert words in caught.value.message
        assert caught.value.hint.endswith((".", "?"))
    with pytest.raises(harness.NothingComparable):
        harness.load_results(tmp_path / "nothing")
    nonsense: list[tuple[Callable[..., object], object]] = [
        (harness.load_results, 3),
        (harness.load_results, ""),
        (harness.load_results, "nosuchproto://x"),
        (lambda models: harness.load_results(tmp_path, models=models), 3),
        (lambda session: harness.load_results(tmp_path, session), 3),
        (harness.compare, ["one", "two"]),
    ]
    for call, argument in nonsense:
        with pytest.raises(harness.UsageError) as caught:
            call(argument)
        assert caught.value.hint.endswith(".")


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., harness.Result]:
    """Runs with a scripted worker."""
    model = tmp_path / "m.fake"
    model.write_bytes(b"m")
    description = say(
        Describe(format="fake", methods=[{"name": "forward", "inputs": [], "outputs": []}], metadata={}, delegates=[])
    )

    def run(script: Script, **options: Any) -> harness.Result:
        def scripted(job: Job, files: Files) -> Script:
            return (HELLO, description, DONE) if job.measure == "describe" else script

        target = FakeTarget(scripted, capabilities=replace(CAPABILITIES, latency="measured"))
        monkeypatch.setattr("harness.experiment.run.find_target", lambda name, **chosen: target)
        return harness.run(target="fake", models=[model], results=tmp_path / "results", **options)

    return run


def test_a_job_that_fails_ends_nothing_and_is_told(faked: Callable[..., harness.Result]) -> None:
    events: list[Event] = []
    result = faked((HELLO, fails("model", "It is broken.")), processes=2, memory=False, progress=events.append)
    (failure, *_) = result.failures
    assert (failure.model, failure.measure) == ("m", "latency")
    assert "It is broken." in failure.message
    with pytest.raises(harness.NothingComparable):
        result.table()
    assert "It is broken." in result._repr_html_()
    assert any("It is broken." in str(event) for event in events if isinstance(event, Ended))


def test_a_plan_is_run_by_its_path(faked: Callable[..., harness.Result], tmp_path: Path) -> None:
    """What the call says counts more than the plan."""
    (tmp_path / "m.fake").write_bytes(b"m")
    (tmp_path / "plan.toml").write_text('target = "fake"\nmodels = ["m.fake"]\nresults = "there"\nprocesses = 3\n')
    faked((HELLO, samples(*[1000] * 64), DONE), processes=1)  # so that the target is the fake one
    result = harness.run(str(tmp_path / "plan.toml"), memory=False)
    assert len(result.runs) == 3
    assert result.results == tmp_path / "there"
    assert len(harness.run(tmp_path / "plan.toml", results=tmp_path / "here", processes=2, memory=False).runs) == 2
    assert len(harness.load_results(tmp_path / "here", models="m").runs) == 2


def test_events_are_sentences(faked: Callable[..., harness.Result]) -> None:
    script = (HELLO, say(Progress(done=1, total=4)), samples(*[1000] * 64), DONE)
    told: list[Event] = []
    faked(script, processes=2, memory=False, progress=told.append)
    assert [str(event) for event in told] == [
        "describing m",
        "measuring: 2 processes, one after the other",
        "25 % of this process",
        "[1/2] latency m, block 0",
        "25 % of this process",
        "[2/2] latency m, block 1",
    ]
    assert {type(event) for event in told} == {Describing, Measuring, Working, Ended}
    assert str(Note("a sentence")) == "a sentence"


def test_the_page_about_it_runs_as_it_stands(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With as little as can be measured in place of a second a process."""
    for name, model in (("fp32", models.mlp), ("int8", models.other)):
        (tmp_path / f"cnn-{name}.pte").write_bytes(model.read_bytes())
    monkeypatch.chdir(tmp_path)
    page = PAGES["docs/python-api.md"]
    measures, labelled, reads, several = blocks(page, "python")
    assert "labels=" in labelled, "what tests/cli/test_labels.py does, of other sizes"
    assert "processes=5" in measures
    exec(measures.replace("processes=5", "processes=3, min_duration_s=0, memory=False"), {})
    assert re.search(r"^int8 is \d+\.\d\dx as fast as fp32 \[.*\]$", capsys.readouterr().out, re.MULTILINE)
    shutil.copytree("results", "results-of-yesterday")
    names: dict[str, Any] = {}
    exec(reads, names)
    assert names["both"].comparisons[0].models[0].name == "fp32"
    quick = "processes=2, min_duration_s=0, min_iterations=3, max_warmup_s=0, memory=False, quality=False"
    exec(several.replace("processes=5", quick), {})
    plan, named = blocks(page, "toml")
    assert "[models]" in named
    (tmp_path / "plan.toml").write_text(plan)
    assert harness.RunRequest(**read_plan(tmp_path / "plan.toml")).threads == (1, 2)
    assert set(harness.load_results("results").runs["threads"]) == {2}
