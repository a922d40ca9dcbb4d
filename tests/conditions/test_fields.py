"""A field of a condition is declared in one place, and whatever sorts, names, filters or writes conditions sees it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pytest

from harness.conditions.fields import (
    ASKED,
    CAPTION,
    FIELDS,
    FILTERS,
    KEY,
    TELLING,
    Condition,
    ConditionField,
    lasting_facts,
    planned_condition,
    tell_apart,
    without_data,
)
from harness.job import Job
from harness.store.schemas import RUNS

BARE = Condition("x86", "cpu", "generate", 2, "0,1", None, False, 1, 16, 8)
# For every field a value that BARE does not have.
OTHERS = {
    "target": "cuda",
    "device": "gpu",
    "scenario": "offline",
    "threads": 1,
    "cpus": None,
    "runtime": "native",
    "compile": True,
    "batch": 8,
    "prompt_tokens": None,
    "new_tokens": 4,
    "data": "tiny",
    "data_sha256": "0" * 64,
    "precision": "bf16",
    "load": "50 queries/s",
    "versions_of": "m",
    "runtime_options": "spinning on",
}
BY_NAME = {each.name: each for each in FIELDS}


def test_every_field_has_another_value_here() -> None:
    assert set(OTHERS) == {field.name for field in fields(Condition)}


@pytest.mark.parametrize("name", OTHERS)
def test_conditions_that_differ_in_one_field_are_told_apart_by_it(name: str) -> None:
    other = replace(BARE, **{name: OTHERS[name]})
    words = tell_apart([BARE, other])
    if BY_NAME[name].words is None:
        assert words == [("condition 1",), ("condition 2",)]
    else:
        assert words == [(BY_NAME[name].say(getattr(each, name)),) for each in (BARE, other)]
        assert len(set(words)) == 2


def test_of_a_list_only_what_differs_is_said() -> None:
    loads = ("window of 5 tokens, by threads, policy none", "window of 5 tokens, by threads, policy hybrid")
    assert tell_apart([replace(BARE, load=load) for load in loads]) == [("policy none",), ("policy hybrid",)]
    loads = ("50 queries/s", "50 queries/s, p99 within 15 ms")
    assert tell_apart([replace(BARE, load=load) for load in loads]) == [(load,) for load in loads]


def test_words_say_what_is_absent() -> None:
    said = {name: BY_NAME[name].say(None) for name in OTHERS}
    assert said["cpus"] == "not pinned"
    assert said["runtime"] == "the target's own runtime"
    assert said["prompt_tokens"] == "unknown prompt tokens"


@pytest.mark.parametrize("each", [each for each in FIELDS if each.from_job is None], ids=lambda each: each.name)
def test_a_field_without_a_job_is_a_column_of_runs(each: ConditionField) -> None:
    assert each.name in {*RUNS.names, "target"}  # the target is a partition key


def test_a_planned_job_has_the_condition_that_it_will_be_stored_under() -> None:
    job = Job(
        target="x86",
        model="m",
        model_sha256="0",
        scenario="server",
        cpus=(0, 1),
        precision="bf16",
        rate_queries_per_s=50.0,
    )
    planned = planned_condition(job, "cpu")
    assert (planned.device, planned.cpus, planned.precision, planned.load) == ("cpu", "0,1", "bf16", "50 queries/s")


def test_a_later_field_leaves_the_ids_of_before_as_they_are() -> None:
    assert set(lasting_facts(BARE)) == {*KEY, "data", "data_sha256"}
    assert lasting_facts(replace(BARE, precision="bf16"))["precision"] == "bf16"


def test_what_depends_on_no_data_has_none_in_its_condition() -> None:
    assert without_data(replace(BARE, data="tiny", data_sha256="1")) == BARE


def test_no_field_is_forgotten() -> None:
    assert {*ASKED, "data", "data_sha256"} == set(OTHERS)
    assert {each.name for each in TELLING} == {*OTHERS} - {"data_sha256"}
    titled = {"target", "device", "scenario", "data", "data_sha256"}
    assert {each.name for each in CAPTION} == {*OTHERS} - titled
    assert set(FILTERS) <= set(OTHERS)


# One line more in the declaration, and nothing else: a field of every stored job that is no condition today.
ADDED = 'seed: int | None = of_job(lambda job: job.fields.get("seed"), words="seed {}".format, filter=int)'
SCRIPT = """
import sys
from pathlib import Path
import harness.conditions.fields as fields

source = Path(fields.__file__).read_text(encoding="utf-8")
last = next(line for line in source.splitlines() if line.startswith("    load: "))
assert source.count(last) == 1
exec(compile(source.replace(last, last + "\\n    " + sys.argv[1]), fields.__file__, "exec"), fields.__dict__)

from harness.analysis.grouping import group
from harness.analysis.spec import parse_column, parse_spec
from harness.job import Job
from harness.report import machine
from harness.report.layout import conditions_in_words
from harness.report.paper import csv
from harness.store.schemas import RUNS

jobs = [Job(target="x86", model="m", model_sha256="0", scenario="generate", seed=seed) for seed in (3, 4)]
rows = [
    dict.fromkeys(RUNS.names) | {"attempt_id": str(job.seed), "target": "x86", "measure": "latency", "model": "m",
    "scenario": "generate", "job_json": job.canonical_json()}
    for job in jobs
]
conditions = [condition for condition, _ in group(rows)]
assert [condition.seed for condition in conditions] == [3, 4]
assert fields.tell_apart(conditions) == [("seed 3",), ("seed 4",)]
assert "seed 3" in conditions_in_words(conditions[0], counted=False)
assert parse_spec({"columns": [parse_column("loss_nats,seed=4")]}, Path()).columns[0].where == {"seed": 4}
assert "seed" in csv.COLUMNS
assert "seed" in machine.COLUMNS
assert fields.planned_condition(jobs[0], "cpu").seed == 3
print("seen")
"""


def test_one_line_adds_a_field_to_tables_words_filters_files_and_plans() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", SCRIPT, ADDED], capture_output=True, text=True, check=False)
    assert ended.stdout == "seen\n", ended.stderr
