"""The request of a stored run, as analysis reads it: of this version, of an older and a newer one, of none."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from harness.analysis.grouping import options_of
from harness.conditions.workload import workload_words
from harness.job import Job
from harness.store.stored_job import StoredJob, read_job, stored


def job(**more: object) -> Job:
    return Job(**{"target": "x86", "model": "m", "model_sha256": "0", "scenario": "flash", **more})  # type: ignore[arg-type]


def test_every_field_that_is_read_is_one_of_a_job() -> None:
    assert {field.name for field in fields(StoredJob)} - {"fields"} <= {field.name for field in fields(Job)}


def test_fields_that_a_row_has_are_read_with_their_types() -> None:
    read = stored(job(threads=2, window=5, min_duration_s=2, input_sizes=((2, 3), ())))
    assert (read.model, read.scenario, read.window, read.min_duration_s) == ("m", "flash", 5, 2.0)
    assert read.input_sizes == ((2, 3), ())
    assert read.fields["threads"] == 2
    assert (read.precision, read.ablation) == (None, None)


@pytest.mark.parametrize("nothing", [None, float("nan"), ""])
def test_a_row_of_another_program_has_no_job(nothing: object) -> None:
    assert read_job(nothing) == StoredJob()


def test_a_field_that_an_older_harness_lacked_is_none_and_not_the_default_of_today() -> None:
    read = read_job('{"scenario": "generate"}')
    assert (read.min_iterations, read.max_duration_s) == (None, None)


def test_a_field_of_a_later_harness_tells_jobs_apart() -> None:
    texts = [json.dumps({"scenario": "generate", "governor": value}) for value in ("performance", "powersave")]
    assert len({options_of(read_job(text)) for text in texts}) == 2


def test_policies_of_an_ablation_are_models_of_one_condition() -> None:
    two = [stored(job(model=f"relu {policy}", policy=policy, ablation="relu")) for policy in ("none", "hybrid")]
    assert len({options_of(each) for each in two}) == 1
    swept = [stored(job(policy=policy)) for policy in ("none", "hybrid")]
    assert len({options_of(each) for each in swept}) == 2
    assert "policy none" in str(workload_words(swept[0]))
    assert "policy" not in str(workload_words(two[0]))


@pytest.mark.parametrize(("name", "policy"), [("relu none", "none"), ("relu + predictor", "predictor")])
def test_an_ablation_by_a_harness_without_the_field_is_one(name: str, policy: str) -> None:
    old, new = stored(job(model=name, policy=policy)), stored(job(model=name, policy=policy, ablation="relu"))
    assert old.ablation == new.ablation == "relu"
    assert options_of(old) == options_of(new)
