"""Jobs: the same request always has the same name."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from fakes.jobs import make_job
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.job import Files, Job, canonical_json, parse_request, request_json

WORDS = st.text(max_size=12)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
COUNTS = st.integers(0, 2**31)
SECONDS = st.floats(0, 1e6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "target": WORDS,
    "model": WORDS,
    "model_sha256": HASHES,
    "scenario": WORDS,
    "measure": st.sampled_from(("latency", "memory", "quality", "describe")),
    "block": COUNTS,
    "threads": COUNTS,
    "cpus": st.none() | st.lists(COUNTS, max_size=4).map(tuple),
    "runtime": st.none() | WORDS,
    "precision": st.none() | WORDS,
    "compile": st.booleans(),
    "batch": st.none() | COUNTS,
    "prompt_tokens": st.none() | COUNTS,
    "new_tokens": st.none() | COUNTS,
    "min_iterations": COUNTS,
    "min_duration_s": SECONDS,
    "max_duration_s": SECONDS,
    "max_warmup_s": SECONDS,
    "max_tokens": st.none() | COUNTS,
    "seed": COUNTS,
    "inputs_sha256": st.none() | HASHES,
    "data": st.none() | WORDS,
    "data_sha256": st.none() | HASHES,
    "reference_sha256": st.none() | HASHES,
    "window": st.none() | COUNTS,
    "dram_budget_bytes": st.none() | COUNTS,
    "policy": st.none() | WORDS,
    "predictor": st.none() | WORDS,
    "reader": st.none() | WORDS,
    "depth": st.none() | COUNTS,
    "peer": st.none() | st.booleans(),
    "prompts_sha256": st.none() | HASHES,
    "rate_queries_per_s": st.none() | SECONDS,
    "latency_bound_ns": st.none() | COUNTS,
    "streams": st.none() | COUNTS,
    "method": st.none() | WORDS,
    "input_sizes": st.none() | st.lists(st.lists(COUNTS, max_size=3).map(tuple), max_size=3).map(tuple),
    "input_sets": st.none() | COUNTS,
    "input_limits": st.none() | st.lists(st.none() | COUNTS, max_size=3).map(tuple),
    "resolve": st.none() | SECONDS,
    "ablation": st.none() | WORDS,
    "labels_sha256": st.none() | HASHES,
    "runtime_options": st.none() | st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3).map(tuple),
    "versions_of": st.none() | WORDS,
    "prompts": st.none() | WORDS,
    "end_tokens": st.none() | st.lists(COUNTS, max_size=3).map(tuple),
}
JOBS = st.builds(Job, **VALUES)
FILES = st.builds(Files, model=WORDS, inputs=st.none() | WORDS, tokens=st.none() | WORDS, output=st.none() | WORDS)


def test_every_field_of_a_job_is_drawn_here() -> None:
    assert set(VALUES) == {field.name for field in fields(Job)}


@given(JOBS)
def test_equal_jobs_have_equal_ids(job: Job) -> None:
    twin = Job(**asdict(job))
    assert twin == job
    assert (twin.job_id, twin.series_id) == (job.job_id, job.series_id)
    assert twin.canonical_json() == job.canonical_json()


@given(JOBS, st.data())
def test_another_value_in_any_field_is_another_job(job: Job, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(VALUES)))
    value = data.draw(VALUES[name].filter(lambda value: value != getattr(job, name)))
    other = replace(job, **{name: value})
    assert other.job_id != job.job_id
    assert (other.series_id == job.series_id) == (name == "block")


def test_ids_do_not_change_from_one_version_to_the_next() -> None:
    """Stored rows carry them; if this fails, old results and new ones no longer join."""
    job = make_job()
    assert job.job_id == "a6d140a19e6d3b56c3062943d70587035f4e9bb09db343b5434c50f14a3b37e4"
    assert job.series_id == "13cc35edc4949edc33f3eeef780857a900cd06bb488e09b3cc78fdad04b21644"


def test_seconds_written_as_a_whole_number_are_the_same_job() -> None:
    assert make_job(min_duration_s=1) == make_job(min_duration_s=1.0)
    assert make_job(min_duration_s=1).job_id == make_job(min_duration_s=1.0).job_id


@given(st.dictionaries(WORDS, COUNTS | WORDS | st.lists(COUNTS)))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_is_short_ascii_with_lists_for_tuples() -> None:
    assert canonical_json({"b": (1, 2), "a": "σ", "c": None}) == '{"a":"\\u03c3","b":[1,2],"c":null}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        _ = make_job(min_duration_s=value).job_id


@given(JOBS, FILES)
def test_a_request_is_one_line_and_comes_back_as_it_was(job: Job, files: Files) -> None:
    line = request_json(job, files)
    assert "\n" not in line
    assert parse_request(line) == (job, files)


def test_where_files_lie_is_no_part_of_a_job() -> None:
    assert not {field.name for field in fields(Files)} & {"model_sha256", "inputs_sha256", "data_sha256"}
    first, _ = parse_request(request_json(make_job(), Files(model="/a/m.pte")))
    second, _ = parse_request(request_json(make_job(), Files(model="/b/m.pte")))
    assert first.job_id == second.job_id


@pytest.mark.parametrize("part", ["job", "files"])
def test_an_unknown_field_is_named_and_refused(part: str) -> None:
    request = json.loads(request_json(make_job(), Files(model="m.pte")))
    request[part] |= {"zzz": 1, "colour": "red"}
    with pytest.raises(UsageError, match=r"unknown fields: colour, zzz") as caught:
        parse_request(json.dumps(request))
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    ["", "x", "[]", "null", "7", '{"job":1,"files":{}}', '{"job":{}}', '{"files":{}}', '{"job":"abc","files":{}}'],
)
def test_what_is_no_request_is_refused_in_a_sentence(line: str) -> None:
    with pytest.raises(UsageError, match="was given no job"):
        parse_request(line)


@pytest.mark.parametrize("change", [{"job": {}}, {"files": {}}, {"cpus": 5}])
def test_a_request_that_lacks_a_field_is_refused_in_a_sentence(change: dict[str, Any]) -> None:
    request = json.loads(request_json(make_job(), Files(model="m.pte")))
    if "cpus" in change:
        request["job"] |= change
    else:
        request |= change
    with pytest.raises(UsageError):
        parse_request(json.dumps(request))
