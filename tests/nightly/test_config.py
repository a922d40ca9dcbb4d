"""The configuration of a night: what is right is read, and each mistake is one sentence that names it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from harness.cli.nightly import nightly
from harness.cli.nightly.examples import example
from harness.cli.nightly.subprocess_run import check_options, rerun_arguments, run_options
from harness.conditions.fields import Condition
from harness.errors import UsageError
from harness.nightly.config import DEFAULT_METRICS, NightlyConfig, arguments, parse_config, read_config
from harness.nightly.verdict import Pair

GOOD: dict[str, Any] = {"target": "x86", "models": ["a.pte"], "results": "nights"}


def parse(**more: Any) -> NightlyConfig:
    return parse_config(GOOD | more, Path("/etc/nightly.toml"), "c", run_options())


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
        ({"run": {"processses": 3}}, "[run] has the unknown key 'processses'"),
        ({"run": {"results": "x"}}, "[run] has the unknown key 'results'"),
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
    assert said in raised.value.what
    assert raised.value.what.startswith("nightly.toml")
    assert raised.value.todo


@pytest.mark.parametrize("key", GOOD)
def test_a_key_that_lacks_is_named(key: str) -> None:
    with pytest.raises(UsageError, match=key):
        parse_config({name: value for name, value in GOOD.items() if name != key}, Path("n.toml"), "c", ())


@pytest.mark.parametrize("data", [b"target = ", b"\xff\xfe"])
def test_what_is_no_toml_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "n.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is not TOML"):
        read_config(path, ())
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "none.toml", ())


def test_files_are_looked_for_beside_the_configuration_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "a.pte").write_bytes(b"a")
    (tmp_path / "n.toml").write_text('target = "x86"\nmodels = ["a.pte", "baseline"]\nresults = "nights"\n')
    config = read_config(tmp_path / "n.toml", ())
    assert config.models == (str(tmp_path / "a.pte"), "baseline")
    assert config.results == tmp_path / "nights"
    assert [metric.name for metric in config.metrics] == list(DEFAULT_METRICS)
    assert (config.max_p, config.min_change) == (1e-4, 0.03)


def test_options_become_arguments_that_run_takes_and_others_are_refused() -> None:
    given = arguments({"processes": 7, "threads": "1-2", "no-memory": True, "compile": False, "cpus": ["0", "1"]})
    assert given == ["--processes", "7", "--threads", "1-2", "--no-memory", "--cpus", "0", "--cpus", "1"]
    check_options(given, "x86")
    with pytest.raises(UsageError, match=r"harness run.*refuse.*processes"):
        check_options(arguments({"processes": "many"}), "x86")


def test_a_rerun_has_the_one_condition_of_the_alert_and_more_processes() -> None:
    condition = Condition("x86", "cpu", "generate", 2, "0,1", None, False, 1, 16, 8)
    pair = Pair(Path("good.pte"), Path("bad.pte"), condition, "latency")
    run = {"threads": "1-4", "processes": 5, "min-duration": 0.5, "no-memory": False}
    given = rerun_arguments("x86", Path("results"), run, pair, 20)
    check_options(given[6:], "x86")
    told = dict(zip(given[6::2], given[7::2], strict=False))
    assert given[:6] == ["--target", "x86", "--model", "good.pte", "--model", "bad.pte"]
    assert "--threads 2 " in " ".join(given)
    assert "--cpus 0,1 " in " ".join(given)
    assert (told["--processes"], told["--min-duration"]) == ("20", "0.5"), "whatever the processes of a night are"
    assert "--no-memory" in given
    assert "--no-memory" not in rerun_arguments("x86", Path("r"), run, Pair(*[Path("g")] * 2, condition, "memory"), 10)


def test_the_examples_are_what_they_say() -> None:
    config = parse_config(tomllib.loads(example("config")), Path("n.toml"), "c", run_options())
    check_options(arguments(config.run), config.target)
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
