"""What a run can be asked for: the same by Python, a file and the command line; and what cannot be asked."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from fakes.target import CAPABILITIES, FakeTarget

from harness.cli.run import run
from harness.cli.run.options import given_values
from harness.errors import UsageError
from harness.experiment.options import SECTIONS
from harness.experiment.request import OPTIONS, NamedModel, RunRequest, read_plan
from harness.experiment.sweeps import sweeps_of
from harness.experiment.values import parse_bytes, parse_rates, parse_seconds, parse_share
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Capabilities

REAL = FakeTarget(capabilities=replace(CAPABILITIES, scenarios=tuple(SCENARIOS)))


def asked(**options: Any) -> RunRequest:
    return RunRequest(target="fake", models="m.pte", **options)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("50", [50.0]),
        ("0.5,1,2", [0.5, 1.0, 2.0]),
        ("10-50:10", [10.0, 20.0, 30.0, 40.0, 50.0]),
        ("2,1-3", [2.0, 1.0, 3.0]),
        ("1e3", [1000.0]),
    ],
)
def test_rates_are_lists_and_ranges_without_repetition(text: str, rates: list[float]) -> None:
    assert parse_rates(text) == rates


@pytest.mark.parametrize("text", ["", "0", "-5", "nan", "inf", "1,,2", "fast", "5-1", "0-3", "1e999"])
def test_what_is_no_rate_is_one_sentence_and_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rates(text)
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith((".", "?"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500us", 5e-4), ("15ms", 0.015), ("1.5s", 1.5), (".5s", 0.5), ("30m", 1800.0), ("2h", 7200.0)],
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "15", "0s", "0.0ms", "-1s", "ms", "1 5s", "1d", "infs", "nans", "1e3s", "٣s"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_seconds(text)


def test_every_scenario_has_its_own_fields() -> None:
    def beyond(scenario: str | None, **options: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        sweeps = sweeps_of(asked(scenario=scenario, **options), REAL)
        return {
            name: values for name, values in sweeps.swept.items() if name not in ("threads", "batch", "cpus")
        }, sweeps.shared

    assert beyond(None) == beyond("generate") == ({}, {})
    assert beyond("multi-stream") == ({"streams": [8]}, {})
    assert beyond("multi-stream", streams="1-4") == ({"streams": [1, 2, 3, 4]}, {})
    assert beyond("sustained") == ({}, {"min_duration_s": 1800.0, "max_duration_s": 1800.0})
    assert beyond("sustained", duration_s="90s")[1] == {"min_duration_s": 90.0, "max_duration_s": 90.0}
    assert beyond("server", rate_queries_per_s="50,60")[0] == {
        "rate_queries_per_s": [50.0, 60.0],
        "latency_bound_ns": [None],
    }
    assert beyond("server", latency_bound_ns="15ms,30ms")[0] == {
        "rate_queries_per_s": [None],
        "latency_bound_ns": [15_000_000, 30_000_000],
    }
    assert beyond("flash", dram_budget_bytes="2MB,1KiB", peer=False)[0] == {
        "window": [5],
        "depth": [32],
        "policy": ["bundling"],
        "reader": ["threads"],
        "predictor": ["exact"],
        "dram_budget_bytes": [2_000_000, 1024],
        "peer": [None],
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scenario": "server"}, "needs a rate of arrivals, or a bound"),
        ({"rate_queries_per_s": "50"}, "Only --scenario server takes --rate"),
        ({"scenario": "sustained", "latency_bound_ns": "15ms"}, "Only --scenario server takes --latency-bound"),
        ({"scenario": "offline", "streams": "8"}, "Only --scenario multi-stream takes --streams"),
        (
            {"scenario": "server", "rate_queries_per_s": 5, "duration_s": "30m"},
            "Only --scenario sustained takes --duration",
        ),
        ({"peer": False}, "Only --scenario flash takes --peer"),
        ({"scenario": "multi-stream", "streams": "0"}, "at least one sample"),
        ({"scenario": "multi-stream", "streams": "many"}, "no list of numbers"),
        ({"scenario": "server", "latency_bound_ns": "15"}, "is no time"),
        ({"scenario": "sustained", "duration_s": "30"}, "is no time"),
        ({"scenario": "flash", "ablate": True, "policy": "none"}, "runs every policy"),
        ({"scenario": "flash", "policy": "none,all"}, "no policy 'all'"),
        ({"scenario": "flash", "depth": 0}, "At least one read"),
        ({"scenario": "flash", "dram_budget_bytes": "much"}, "no number of bytes"),
        ({"scenario": "training"}, "scenario is 'training'"),
        ({"max_time_s": "10m"}, "ends the adding of blocks"),
        ({"processes": 0}, "processes is 0"),
        ({"processes": 2.5}, "not a whole number"),
        ({"processes": 1e30}, "processes is 1000000000000000019884624838656"),
        ({"processes": True}, "not a whole number"),
        ({"resolve": 5}, "resolve is 5"),
        ({"resolve": "much"}, "is no share"),
        ({"quality": "no"}, "quality is 'no'"),
        ({"timeout_s": 0}, "timeout is 0"),
        ({"min_duration_s": -1}, "min-duration is -1"),
        ({"min_duration_s": float("nan")}, "min-duration is nan"),
        ({"threads": []}, "threads names no value"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": "1,100000"}, "threads is 100000"),
        ({"batch": -3}, "batch is -3"),
        ({"threads": "x"}, "no list of numbers"),
        ({"inputs": "none.npz"}, "There is no file none.npz"),
        ({"batch_dim": "last"}, "is no dimension"),
        ({"device": 3.5j}, "device is"),
        ({"device": ""}, "device is an empty text"),
        ({"batch": {1, 8}}, "batch is {8, 1}, and not one value or a list"),
        ({"batch": [(1, 2), b"3"]}, "batch is b'3'"),
        ({"cpus": [()]}, "a set without processors"),
        ({"cpus": [(-1, 0)]}, "cpus is -1"),
        ({"min_duration_s": 9, "max_duration_s": 2}, "9 s at least and 2 s at most"),
        ({"min_duration_s": 90}, "90 s at least and 60 s at most"),
        ({"energy_csv": 3}, "energy-csv is a value of type int"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(**given)
    assert words in caught.value.message
    assert caught.value.hint.endswith((".", "?"))


def test_a_target_that_lacks_a_scenario_or_an_ability_says_so() -> None:
    for options, words in (
        ({"scenario": "sustained"}, "has no scenario sustained"),
        ({"profile": True}, "cannot time operators"),
        ({"cpus": "0"}, "cannot pin"),
    ):
        with pytest.raises(UsageError, match=words):
            sweeps_of(
                asked(**options),
                FakeTarget(capabilities=Capabilities(formats=(".pte",), latency="measured", scenarios=())),
            )


def test_values_of_python_and_of_text_are_the_same() -> None:
    assert asked(threads="1-3", resolve="5%", max_time_s="10m", batch=8) == asked(
        threads=[1, 2, 3], resolve=0.05, max_time_s=600, batch=(8,)
    )
    assert asked(cpus=["0,1", 3]).cpus == ((0, 1), (3,))
    assert asked(threads=range(1, 4)).threads == (1, 2, 3)
    assert RunRequest(target="x86", models={"small": Path("a.pte")}).models == (NamedModel("a.pte", "small"),)
    for nothing in ([], None):
        with pytest.raises(UsageError, match="No model"):
            RunRequest(target="x86", models=nothing)
    assert asked(batch=None, cpus=None, timeout_s=None, quality=None) == asked()


@pytest.mark.parametrize(
    "models",
    [3, b"a.pte", {"a.pte"}, [3], [None], [""], [("a", "b.pte")], {"a": 3}, {"a": None}, {3: "a.pte"}, {"": "a"}],
)
def test_models_that_are_no_files_or_names_are_refused(models: Any) -> None:
    with pytest.raises(UsageError, match=r"model (is|has) ") as caught:
        RunRequest(target="x86", models=models)
    assert caught.value.hint.startswith("Give --model a model file")


def test_a_request_without_what_it_needs_is_refused_in_words_of_harness() -> None:
    with pytest.raises(UsageError, match="No model is named"):
        RunRequest(target="x86")
    with pytest.raises(UsageError, match="target is None"):
        RunRequest(models="a.pte")


@pytest.mark.parametrize("results", [3, "", ["a"]])
def test_a_plan_whose_results_are_no_folder_is_refused(tmp_path: Path, results: Any) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(tomli_w.dumps({"target": "x86", "models": ["a.pte"], "results": results}))
    with pytest.raises(UsageError, match=r"results is .* in plan.toml, which names no folder"):
        read_plan(plan)


def test_names_of_the_command_line_are_names_in_python(tmp_path: Path) -> None:
    first = asked().with_options(min_duration=0.5, no_quality=True, scenario="server", latency_bound="15ms")
    assert (first.min_duration_s, first.quality, first.latency_bound_ns) == (0.5, False, (15_000_000,))
    with pytest.raises(UsageError, match=r"no option 'proceses'. Perhaps you mean processes"):
        asked().with_options(proceses=3)


def test_a_model_may_be_named_where_it_is_given(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.pte"
    odd.touch()
    request = RunRequest(target="x86", models=["small=models/a.pte", str(odd), "baseline"])
    assert request.models == (NamedModel("models/a.pte", "small"), NamedModel(str(odd)), NamedModel("baseline"))


def test_help_of_the_record_explains_every_field() -> None:
    assert RunRequest.__doc__ is not None
    assert all(f"    {each.field}: {each.field_help}" in RunRequest.__doc__ for each in OPTIONS)
    assert "    quality: False: leave out the quality pass.\n" in RunRequest.__doc__
    assert "    energy: Measure energy too" in RunRequest.__doc__


def test_a_request_is_what_replace_makes_of_it() -> None:
    first = asked(threads="1-3", scenario="server", rate_queries_per_s="5", latency_bound_ns="15ms", energy_csv="m.csv")
    assert replace(first) == first
    assert replace(first, threads=2).threads == (2,)


def test_every_option_has_help_a_section_and_a_flag_of_its_own() -> None:
    flags = [flag for each in OPTIONS for flag in (each.flag, each.short) if flag]
    assert len(set(flags)) == len(flags)
    for each in OPTIONS:
        assert each.help.endswith("."), each.field
        assert each.section in SECTIONS
    assert {each.field for each in OPTIONS if each.scenario} <= {
        each.field for each in OPTIONS if each.section == "scenario"
    }
    owned = {each.key.replace("-", "_"): each.scenario for each in OPTIONS if each.scenario}
    assert owned == {name: scenario.name for scenario in SCENARIOS.values() for name in scenario.options}
    units = {"_s": "s", "_ns": "ns", "_bytes": "bytes"}
    for each in OPTIONS:
        for ending, unit in units.items():
            assert not each.field.endswith(ending) or each.unit == unit or each.field.endswith("_per_s"), each.field


def test_the_command_line_makes_the_same_request() -> None:
    context = run.make_context(
        "harness run",
        shlex.split(
            "-t x86 -m a.pte -m b.pte --threads 1,2 --cpus 0 --cpus 1-2 --no-memory --scenario flash --no-peer "
            "--dram-budget 2MB --min-duration 0.5 --resolve 5% -n 6"
        ),
    )
    assert RunRequest(**given_values(context.params)) == RunRequest(
        target="x86",
        models=["a.pte", "b.pte"],
        threads=[1, 2],
        cpus=[0, (1, 2)],
        memory=False,
        scenario="flash",
        peer=False,
        dram_budget_bytes=2_000_000,
        min_duration_s=0.5,
        resolve=0.05,
        processes=6,
    )


@pytest.mark.parametrize("name", ["plan.toml", "plan.json"])
def test_a_plan_has_the_options_as_its_keys_and_files_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pte").touch()
    plan = {"target": "x86", "models": ["a.pte", "baseline"], "threads": "1-2", "min-duration": 0.5, "no-memory": True}
    plan |= {"results": "kept", "scenario": "offline", "batch": [1, 8]}
    (tmp_path / name).write_text(json.dumps(plan) if name.endswith("json") else tomli_w.dumps(plan))
    values = read_plan(tmp_path / name)
    assert values.pop("results") == tmp_path / "kept"
    assert RunRequest(**values) == RunRequest(
        target="x86",
        models=[str(tmp_path / "a.pte"), "baseline"],
        threads=[1, 2],
        min_duration_s=0.5,
        memory=False,
        scenario="offline",
        batch=[1, 8],
    )
    (tmp_path / name).write_text('{"tarjet": "x86"}' if name.endswith("json") else 'tarjet = "x86"')
    with pytest.raises(UsageError, match=f"{name} has no option 'tarjet'. Perhaps you mean target") as caught:
        read_plan(tmp_path / name)
    assert caught.value.hint.startswith("Perhaps you mean target")
    with pytest.raises(UsageError, match=r"no plan.*`-m mine\.pte`"):
        read_plan(Path("mine.pte"))
    with pytest.raises(UsageError, match="There is no plan"):
        read_plan(tmp_path / "none.toml")


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("5 %", 0.05), ("0.5", 0.005), ("100%", 1.0)])
def test_shares_are_percent(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(("text", "count"), [("2MB", 2_000_000), ("1.5 GiB", 3 << 29), ("7", 7), ("2k", 2000)])
def test_bytes_have_units(text: str, count: int) -> None:
    assert parse_bytes(text) == count
