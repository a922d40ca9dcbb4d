"""The configuration of a night: what is right is read, and each mistake is one sentence that names it."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from harness.cli.nightly import nightly
from harness.cli.nightly.examples import example
from harness.conditions.fields import Condition
from harness.errors import UsageError
from harness.experiment.request import NamedModel, RunRequest
from harness.nightly.config import DEFAULT_METRICS, NightlyConfig, parse_config, read_config
from harness.nightly.requests import night_request, rerun_request
from harness.nightly.verdict import Pair

GOOD: dict[str, Any] = {"target": "x86", "models": ["a.pte"], "results": "nights"}


def parse(**more: Any) -> NightlyConfig:
    return parse_config(GOOD | more, Path("/etc/nightly.toml"), "c")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"modles": []}, "unknown key 'modles'"),
        ({"models": []}, "models is []"),
        ({"models": "a.pte"}, "models is 'a.pte'"),
        ({"target": 3}, "target is 3"),
        ({"reference": 0}, "reference is 0"),
        ({"metrics": ["speed"]}, "'speed', which cannot be watched"),
        ({"metrics": ["sqnr_db"]}, "'sqnr_db', which cannot be watched"),
        ({"run": {"processses": 3}}, "[run] has no option 'processses'"),
        ({"run": {"results": "x"}}, "[run] has no option 'results'"),
        ({"run": {"target": "x"}}, "[run] has the key 'target', which a night sets itself"),
        ({"run": {"python": ["a/bin/python", "b/bin/python"]}}, "[run] names several interpreters"),
        ({"run": 3}, "[run] is 3"),
        ({"detect": {"p": 0.1}}, "[detect] has the unknown key 'p'"),
        ({"detect": {"min_change": 3}}, "min_change is 3, not a number between 0 and 1"),
        ({"detect": {"max_p": True}}, "max_p is True"),
        ({"detect": {"max_p": float("nan")}}, "max_p is nan"),
    ],
)
def test_a_mistake_is_named(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(**more)
    assert said in raised.value.message
    assert raised.value.message.startswith("nightly.toml")
    assert raised.value.hint


@pytest.mark.parametrize("key", GOOD)
def test_a_key_that_lacks_is_named(key: str) -> None:
    with pytest.raises(UsageError, match=key):
        parse_config({name: value for name, value in GOOD.items() if name != key}, Path("n.toml"), "c")


@pytest.mark.parametrize("data", [b"target = ", b"\xff\xfe"])
def test_what_is_no_toml_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "n.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is not TOML"):
        read_config(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_files_are_looked_for_beside_the_configuration_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "a.pte").write_bytes(b"a")
    (tmp_path / "n.toml").write_text('target = "x86"\nmodels = ["a.pte", "baseline"]\nresults = "nights"\n')
    config = read_config(tmp_path / "n.toml")
    assert config.request.models == (NamedModel(str(tmp_path / "a.pte")), NamedModel("baseline"))
    assert config.results == tmp_path / "nights"
    assert [metric.name for metric in config.metrics] == list(DEFAULT_METRICS)
    assert (config.max_p, config.min_change) == (1e-4, 0.03)


def test_options_are_those_of_a_run_by_either_name_and_others_are_refused(tmp_path: Path) -> None:
    run = {"processes": 7, "threads": "1-2", "no-memory": True, "compile": False, "cpus": ["0", 1], "min-duration": 0.2}
    request = parse(run=run).request
    assert (request.processes, request.threads, request.memory, request.compile) == (7, (1, 2), False, False)
    assert (request.cpus, request.min_duration_s) == (((0,), (1,)), 0.2)
    assert (
        parse(run={"memory": False, "min_duration_s": 0.2}).request
        == parse(run={"no-memory": True, "min-duration": 0.2}).request
    )
    assert parse(run={"no-memory": False}).request.memory is True
    with pytest.raises(UsageError, match="processes is 'many', not a whole number"):
        parse(run={"processes": "many"})


def test_files_among_the_options_lie_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tokens.npy").touch()
    data = GOOD | {"run": {"tokens": "tokens.npy"}}
    assert parse_config(data, tmp_path / "n.toml", "c").request.tokens == tmp_path / "tokens.npy"
    with pytest.raises(UsageError, match=r"There is no file .*none\.npy, which tokens names"):
        parse_config(GOOD | {"run": {"tokens": "none.npy"}}, tmp_path / "n.toml", "c")


def test_a_night_measures_the_reference_too() -> None:
    config = parse(reference="fixed.pte")
    assert night_request(config).models == (NamedModel("a.pte"), NamedModel("fixed.pte", "fixed (reference)"))
    assert night_request(parse()) == parse().request


def test_a_rerun_has_the_one_condition_of_the_alert_and_more_processes() -> None:
    condition = Condition("x86", "cpu", "generate", 2, "0,1", None, False, 1, 16, 8)
    pair = Pair(Path("good.pte"), Path("bad.pte"), ("m (good)", "m (new)"), condition, "latency")
    request = parse(run={"threads": "1-4", "processes": 5, "min-duration": 0.5, "resolve": "5%", "cpus": "2"}).request
    again = rerun_request(request, pair, 20)
    assert again == RunRequest(
        target="x86",
        models={"m (good)": "good.pte", "m (new)": "bad.pte"},
        scenario="generate",
        threads=2,
        cpus=[(0, 1)],
        batch=1,
        prompt_tokens=16,
        new_tokens=8,
        min_duration_s=0.5,
        processes=20,
        quality=False,
        memory=False,
    ), "whatever the processes of a night are"
    assert rerun_request(request, replace(pair, measure="memory"), 10).memory


def test_the_examples_are_what_they_say() -> None:
    config = parse_config(tomllib.loads(example("config")), Path("n.toml"), "c")
    assert (config.target, config.request.processes, config.request.cpus) == ("x86", 16, ((0,),))
    workflow = yaml.safe_load(example("github"))
    steps = workflow["jobs"]["nightly"]["steps"]
    assert any("nightly run nightly.toml --summary" in step.get("run", "") for step in steps)
    assert "cron" in workflow[True]["schedule"][0]  # YAML 1.1 reads `on` as a boolean
    fields = example("cron").split(maxsplit=5)
    assert len(fields) == 6
    assert " -m harness nightly run nightly.toml" in fields[5]


def test_a_configuration_alone_means_run_and_another_word_is_a_mistake() -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        CliRunner().invoke(nightly, ["none.toml"], catch_exceptions=False)
    assert CliRunner().invoke(nightly, ["nonsense"]).exit_code == click.UsageError.exit_code
