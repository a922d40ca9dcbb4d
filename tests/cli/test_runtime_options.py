"""`harness run --runtime-option`: which models it holds for, what the table shows, and what is refused before anything
is measured; and what else the runtimes of a run cannot do.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.driving import QUICK, Ended, Home
from models_on_disk import Models

pytest.importorskip("onnxruntime")
from onnx_on_disk import write_mlp


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Home:
    home = Home(tmp_path_factory.mktemp("options"))
    write_mlp(home.folder / "same.onnx", models.folder / "mlp.npz")
    return home


@pytest.fixture(scope="module")
def ran(workshop: Home, models: Models) -> Ended:
    """One network in two runtimes, of which one has the options; one of the two values is its default."""
    options = ("--runtime-option", "graph_optimization=all,off", "--no-memory", "--format", "json")
    return workshop.harness(
        "run", "-t", "x86", "-n", 2, "--batch", 4, *QUICK, *options, "-m", models.mlp, "-m", "same.onnx"
    )


def test_it_sweeps_for_the_models_whose_runtime_has_it(ran: Ended, workshop: Home) -> None:
    assert ran.code == 0, ran.err
    timed = [row for row in workshop.rows() if row["measure"] == "latency"]
    options: dict[str, list[object]] = {"mlp": [], "same": []}
    for row in timed:
        options[row["model"]].append(json.loads(row["job_json"]).get("runtime_options"))
    # The default is no option of a job: it is the same job as without one.
    assert options["mlp"] == [None, None]
    assert sorted(options["same"], key=str) == [None, None, *[[["graph_optimization", "off"]]] * 2]
    settings = [json.loads(row["settings_json"]) for row in timed if row["model"] == "same"]
    assert sorted(each["graph_optimization"] for each in settings) == ["all", "all", "off", "off"]
    assert {each["runtime"] for each in settings} == {"onnxruntime"}


def test_models_of_other_runtimes_stand_in_the_table_of_every_value(ran: Ended) -> None:
    comparisons = json.loads(ran.out)["data"]["comparisons"]
    shown = {each["condition"]["runtime_options"]: [model["model"] for model in each["models"]] for each in comparisons}
    assert shown == {"graph_optimization all": ["mlp", "same"], "graph_optimization off": ["mlp", "same"]}
    for each in comparisons:
        assert {model["latency_processes"] for model in each["models"]} == {2}
        assert each["settings"]["mlp"]["runtime"] == "executorch"
        assert each["settings"]["same"]["graph_optimization"] == each["condition"]["runtime_options"].split()[1]


def test_the_table_and_the_record_say_what_each_runtime_ran_with(ran: Ended, workshop: Home) -> None:
    table = workshop.harness("compare").out
    assert "onnxruntime: provider CPUExecutionProvider, execution sequential, spinning off" in table
    assert "executorch: delegates " in table
    assert "graph_optimization all" in table
    record = json.loads(workshop.harness("report", "--format", "json").out)["data"]
    assert {run["settings"].get("runtime") for run in record["runs"]} == {"executorch", "onnxruntime"}
    assert "Settings of the runtimes" in workshop.harness("report").out


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("graph_optimisation=off", ("has an option 'graph_optimisation'", "Perhaps you mean graph_optimization.")),
        ("onnxruntime.spining=on", ("'onnxruntime.spining'", "Perhaps you mean spinning.")),
        ("wings=2", ("'wings'", "There are: onnxruntime: graph_optimization, spinning.")),
        ("spinning=fast", ("onnxruntime: spinning cannot be 'fast'.", "Choose one of: on, off.")),
        ("spinning", ("'spinning'", "Write NAME=VALUE")),
        ("spinning=", ("spinning is ''", "Write NAME=VALUE")),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is_measured(
    workshop: Home, models: Models, option: str, words: tuple[str, ...]
) -> None:
    before = len(workshop.rows()) if workshop.results.exists() else 0
    workshop.harness("run", "-t", "x86", "-m", "same.onnx", "--runtime-option", option).explained(2, *words)
    assert len(workshop.rows()) == before


def test_where_no_runtime_has_options_it_says_so(workshop: Home, models: Models) -> None:
    ended = workshop.harness("run", "-t", "x86", "-m", models.mlp, "--runtime-option", "spinning=on")
    ended.explained(2, "No runtime of these models has an option 'spinning'", "executorch has no options")


def test_a_plan_has_a_table_of_them_and_a_dry_run_shows_both(workshop: Home, models: Models) -> None:
    plan = workshop.folder / "plan.toml"
    plan.write_text(
        f'target = "x86"\nbatch = 4\nmodels = ["{models.mlp}", "same.onnx"]\n'
        '[runtime_options]\nspinning = [false, "on"]\ngraph_optimization = "basic"\n'
    )
    ended = workshop.harness("run", plan, "--dry-run")
    assert ended.code == 0, ended.err
    assert "spinning off: mlp (baseline), same; 5 interleaved processes per model" in ended.out
    assert "spinning on: mlp (baseline), same; 5 interleaved processes per model" in ended.out
    assert "15 for latency" in ended.out


def test_targets_list_the_options_of_their_runtimes(workshop: Home) -> None:
    shown = workshop.harness("targets", "--options").out
    assert "--runtime-option graph_optimization=all|extended|basic|off [default: all]" in shown
    assert "--runtime-option spinning=on|off [default: off]" in shown
    rows = json.loads(workshop.harness("targets", "--json").out)["data"]
    (x86,) = (row for row in rows if row["target"] == "x86")
    options = {each["runtime"]: [option["name"] for option in each["options"]] for each in x86["runtimes"]}
    assert options["onnxruntime"] == ["graph_optimization", "spinning"]


def test_what_a_runtime_cannot_do_is_said_before_measuring(workshop: Home, models: Models) -> None:
    asked = ("--compile", "--profile", "--prompt-tokens", "8", "--runtime", "onnxruntime")
    given = ("-m", models.mlp, "-m", "same.onnx", "-m", models.mlp_pt2)
    ended = workshop.harness("run", "-t", "x86", "-n", 1, "--batch", 4, "--dry-run", *asked, *given)
    assert ended.code == 0, ended.err
    said = " ".join(ended.err.split())
    assert "--compile does not concern mlp.pte (executorch) and same (onnxruntime), which cannot be compiled" in said
    assert "--profile does not concern mlp.pt2 (torch), where operators cannot be timed" in said
    assert "--prompt-tokens does not concern mlp.pte, same, mlp.pt2, which are no language models" in said
    assert "--runtime onnxruntime does not concern mlp.pte, mlp.pt2: such models have a table of their own" in said
    assert "2 for profile" in ended.out


def test_a_profile_of_models_that_all_cannot_be_profiled_is_refused(workshop: Home, models: Models) -> None:
    ended = workshop.harness("run", "-t", "x86", "-m", models.mlp_pt2, "--profile")
    ended.explained(2, "The operators of mlp (torch) cannot be timed.", "Leave out --profile.")


def test_a_plan_is_read_beside_the_file(tmp_path: Path) -> None:
    from harness.experiment.request import read_plan

    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"runtime-option": ["a=1,2", "b=x"]}))
    assert read_plan(path) == {"runtime_options": ["a=1,2", "b=x"]}
