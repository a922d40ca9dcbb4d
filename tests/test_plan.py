"""From options to an ordered list of jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.jobs import language_model, make_job, make_subject, perceptron
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.experiment.plan import (
    MEMORY_PROCESSES,
    Subject,
    configurations,
    files_for,
    interleave,
    passes,
    why_not_compared,
)
from harness.job import Job
from harness.language.prompts import GivenPrompts
from harness.model_description import is_language_model, positions_of
from harness.protocol import Describe


def planned(
    subject: Subject, scenario: str | None = None, fixed: dict[str, Any] | None = None, **options: Any
) -> list[Job]:
    """The configurations of a model for options given as lists."""
    return configurations(subject, "fake", scenario, options, fixed or {})


# Configurations.


def test_a_sweep_gives_one_job_a_combination(tmp_path: Path) -> None:
    jobs = planned(make_subject(tmp_path, "mlp"), threads=[1, 2], batch=[2, 4])
    assert [(job.threads, job.batch) for job in jobs] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert {(job.block, job.measure, job.scenario, job.model) for job in jobs} == {
        (0, "latency", "single-stream", "mlp")
    }


def test_options_that_come_to_the_same_give_one_job(tmp_path: Path) -> None:
    assert len(planned(make_subject(tmp_path, "mlp", perceptron(batch=4)), batch=[0, 4])) == 1


def test_a_batch_of_zero_is_the_files_own(tmp_path: Path) -> None:
    assert planned(make_subject(tmp_path, "mlp", perceptron(batch=7)), batch=[0])[0].batch == 7
    assert planned(make_subject(tmp_path, "mlp", perceptron(batch=7)), batch=[3])[0].batch == 3


def test_a_batch_beyond_the_files_own_is_refused_where_sizes_are_bounds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 7"):
        planned(make_subject(tmp_path, "mlp", perceptron(batch=7)), batch=[8])


@pytest.mark.parametrize("inputs", [[], [{"dtype": "float32", "sizes": []}]], ids=["no input", "a number"])
def test_a_model_without_a_dimension_for_a_batch_has_none_that_is_known(tmp_path: Path, inputs: list[Any]) -> None:
    described = replace(perceptron(), methods=[{"name": "forward", "inputs": inputs, "outputs": []}])
    subject = make_subject(tmp_path, "odd", described)
    assert planned(subject, batch=[0])[0].batch is None
    assert configurations(subject, "fake", None, {"batch": [0]}, {}, "none")[0].batch == 1


def test_a_query_of_several_samples_needs_to_know_what_one_is(tmp_path: Path) -> None:
    described = replace(perceptron(), methods=[{"name": "forward", "inputs": [], "outputs": []}])
    with pytest.raises(UsageError, match="A query of 8 samples cannot be made") as caught:
        planned(make_subject(tmp_path, "odd", described), "multi-stream", {"streams": 8}, batch=[0])
    assert "--batch-dim" in caught.value.hint


def test_made_sizes_are_in_the_job_where_the_file_does_not_fix_them(tmp_path: Path) -> None:
    jobs = planned(make_subject(tmp_path, "mlp", perceptron(batch=7)), batch=[0, 7, 3])
    assert [(job.batch, job.input_sizes) for job in jobs] == [(7, ((7, 16),)), (3, ((3, 16),))]


def test_only_language_models_have_tokens(tmp_path: Path) -> None:
    job = planned(make_subject(tmp_path, "mlp"), prompt_tokens=[8], new_tokens=[8])[0]
    assert (job.prompt_tokens, job.new_tokens) == (None, None)


def test_compile_is_for_pt2_only(tmp_path: Path) -> None:
    compiled = {
        format: planned(make_subject(tmp_path, format, perceptron(format=format)), fixed={"compile": True})[0].compile
        for format in ("pte", "pt2")
    }
    assert compiled == {"pte": False, "pt2": True}


@pytest.mark.parametrize(("description", "scenario"), [(perceptron(), "single-stream"), (language_model(), "generate")])
def test_the_scenario_follows_from_the_model(tmp_path: Path, description: Describe, scenario: str) -> None:
    assert planned(make_subject(tmp_path, "m", description))[0].scenario == scenario


def test_generation_needs_a_language_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mlp is no language model") as caught:
        planned(make_subject(tmp_path, "mlp"), "generate")
    assert "single-stream" in caught.value.hint


@pytest.mark.parametrize(
    ("longest", "context", "prompt", "new"),
    [
        (64, 96, 48, 49),  # half the context, and the rest of it
        (1024, 4096, 128, 128),  # no more than 128 of either
        (16, 4096, 16, 128),  # no more than is taken at once
        (4, 4, 2, 3),
    ],
)
def test_prompt_and_new_tokens_have_defaults_that_fit(
    tmp_path: Path, longest: int, context: int, prompt: int, new: int
) -> None:
    job = planned(make_subject(tmp_path, "lm", language_model(longest, context)))[0]
    assert (job.prompt_tokens, job.new_tokens, job.batch) == (prompt, new, 1)


@pytest.mark.parametrize(
    ("given", "prompt", "new"),
    [
        ({"new_tokens": [60]}, 37, 60),  # what is left of the context, to the last place
        ({"new_tokens": [96]}, 1, 96),
        ({"prompt_tokens": [64]}, 64, 33),
        ({"prompt_tokens": [1]}, 1, 96),
    ],
)
def test_a_default_leaves_all_the_room_that_the_other_needs(
    tmp_path: Path, given: dict[str, list[int]], prompt: int, new: int
) -> None:
    job = planned(make_subject(tmp_path, "lm", language_model(64, 96)), **given)[0]
    assert (job.prompt_tokens, job.new_tokens) == (prompt, new)


@given(
    longest=st.integers(1, 40),
    context=st.integers(2, 60),
    prompt=st.none() | st.integers(1, 50),
    new=st.none() | st.integers(1, 50),
)
def test_what_is_planned_fits_the_context_and_what_does_not_fit_is_refused(
    longest: int, context: int, prompt: int | None, new: int | None
) -> None:
    subject = Subject(name="lm", path=Path("lm.pte"), sha256="0" * 64, description=language_model(longest, context))
    options = {name: [value] for name, value in (("prompt_tokens", prompt), ("new_tokens", new)) if value}
    fits = (prompt or 1) <= longest and (prompt or 1) + (new or 1) - 1 <= context
    if not fits:
        with pytest.raises(UsageError, match=f"{longest} tokens at once and {context} in all"):
            planned(subject, **options)
        return
    jobs, refusal = [], None
    try:
        jobs = planned(subject, **options)
    except UsageError as error:
        refusal = error
    if refusal is not None:
        # The defaults look at what the model can do, not at the option that was given beside them.
        assert None in (prompt, new)
        return
    (job,) = jobs
    assert job.prompt_tokens is not None
    assert job.new_tokens is not None
    assert prompt is None or job.prompt_tokens == prompt
    assert new is None or job.new_tokens == new
    assert 1 <= job.prompt_tokens <= longest
    assert job.new_tokens >= 1
    assert job.prompt_tokens + job.new_tokens - 1 <= context


@pytest.mark.parametrize(
    "options", [{"prompt_tokens": [65]}, {"prompt_tokens": [60], "new_tokens": [38]}, {"new_tokens": [97]}]
)
def test_tokens_beyond_the_context_are_refused(tmp_path: Path, options: dict[str, list[int]]) -> None:
    with pytest.raises(UsageError, match="64 tokens at once and 96 in all"):
        planned(make_subject(tmp_path, "lm", language_model(64, 96)), **options)


def test_the_last_place_in_the_context_can_be_used(tmp_path: Path) -> None:
    # The last new token is chosen and never fed back, so it needs no place.
    job = planned(make_subject(tmp_path, "lm", language_model(64, 96)), prompt_tokens=[60], new_tokens=[37])[0]
    assert (job.prompt_tokens, job.new_tokens) == (60, 37)


@pytest.mark.parametrize(
    "metadata", [{"get_max_context_len": None, "get_max_seq_len": 96}, {"get_max_context_len": 96}]
)
def test_the_context_is_what_the_model_says_of_it(tmp_path: Path, metadata: dict[str, Any]) -> None:
    subject = make_subject(tmp_path, "lm", language_model(96, 5, **metadata))
    assert planned(subject, prompt_tokens=[90], new_tokens=[7])[0].new_tokens == 7
    with pytest.raises(UsageError):
        planned(subject, prompt_tokens=[90], new_tokens=[8])


def test_language_models_take_no_batch(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, "lm", language_model())
    assert planned(subject, batch=[0])[0].batch == planned(subject, batch=[1])[0].batch == 1
    with pytest.raises(UsageError, match="batch is 1"):
        planned(subject, batch=[2])


def test_other_scenarios_of_a_language_model_have_a_prompt_only(tmp_path: Path) -> None:
    job = planned(make_subject(tmp_path, "lm", language_model()), "single-stream")[0]
    assert (job.prompt_tokens, job.new_tokens) == (48, None)


@pytest.mark.parametrize("option", ["prompt_tokens", "new_tokens"])
def test_no_tokens_at_all_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError):
        planned(make_subject(tmp_path, "lm", language_model()), **{option: [0]})


def test_a_language_model_whose_tokens_have_no_batch_dimension_is_refused_in_a_sentence(tmp_path: Path) -> None:
    method = language_model().methods[0]
    flat = {**method, "inputs": [{"dtype": "int64", "sizes": [64]}, {"dtype": "int64", "sizes": [1]}]}
    with pytest.raises(UsageError):
        planned(make_subject(tmp_path, "lm", replace(language_model(), methods=[flat])), "generate")


def _without(**changes: Any) -> Describe:
    described = language_model()
    return replace(described, metadata={**described.metadata, **changes})


def _with_inputs(*dtypes: str) -> Describe:
    inputs = [{"dtype": dtype, "sizes": sizes} for dtype, sizes in zip(dtypes, ([1, 8], [1], [1]), strict=False)]
    return replace(language_model(), methods=[{"name": "forward", "inputs": inputs, "outputs": []}])


@pytest.mark.parametrize(
    ("description", "is_one"),
    [
        (language_model(), True),
        (_with_inputs("int32", "int64"), True),
        (perceptron(), False),
        (_without(use_kv_cache=False), False),
        (_with_inputs("int64"), False),
        (_with_inputs("int64", "float32"), False),
        (_with_inputs("int64", "int64", "int64"), False),
        (replace(language_model(), metadata={"use_kv_cache": True}), False),
        (replace(language_model(), methods=[{**language_model().methods[0], "name": "encode"}]), False),
        (replace(language_model(), methods=[]), False),
    ],
)
def test_language_models_are_known_by_executorchs_convention(description: Describe, is_one: bool) -> None:
    assert is_language_model(description) is is_one


@pytest.mark.parametrize(
    ("tokens", "positions", "convention"),
    [
        ([1, 8], [1], "first"),
        ([1, 1], [1], "first"),
        ([1, 8], [], "scalar"),
        ([1, 8], [8], "each"),
        ([1, 8], [3], None),
        ([1, 8], [1, 8], None),
        ([8], [1], None),
    ],
)
def test_the_convention_for_positions_is_seen_by_the_sizes(
    tokens: list[int], positions: list[int], convention: str | None
) -> None:
    inputs = [{"dtype": "int64", "sizes": sizes} for sizes in (tokens, positions)]
    described = replace(language_model(), methods=[{"name": "forward", "inputs": inputs, "outputs": []}])
    assert is_language_model(described) == (convention is not None)
    if convention is not None:
        assert positions_of(described) == convention


# The passes.


def two_models(folder: Path, **known: Any) -> dict[str, Subject]:
    return {name: make_subject(folder, name, **known) for name in ("base", "small")}


def all_jobs(subjects: dict[str, Subject], **options: Any) -> list[Job]:
    return [job for subject in subjects.values() for job in planned(subject, **options)]


def test_memory_comes_first_then_latency_then_quality(tmp_path: Path) -> None:
    subjects = two_models(tmp_path)
    jobs = passes(all_jobs(subjects, threads=[1, 2]), 5, subjects, memory=True)
    assert [job.measure for job in jobs] == ["memory"] * 4 * MEMORY_PROCESSES + ["latency"] * 20 + ["quality"] * 2


def test_memory_takes_no_more_processes_than_asked_and_can_be_left_out(tmp_path: Path) -> None:
    subjects = two_models(tmp_path)
    assert [job.measure for job in passes(all_jobs(subjects), 1, subjects, memory=True)].count("memory") == 2
    assert "memory" not in {job.measure for job in passes(all_jobs(subjects), 5, subjects, memory=False)}


def test_memory_depends_on_no_rate_of_queries(tmp_path: Path) -> None:
    subjects = two_models(tmp_path)
    latency = [
        replace(job, rate_queries_per_s=rate, latency_bound_ns=1000)
        for job in all_jobs(subjects)
        for rate in (10.0, 20.0)
    ]
    memory = [job for job in passes(latency, 1, subjects, memory=True) if job.measure == "memory"]
    assert [(job.model, job.rate_queries_per_s, job.latency_bound_ns) for job in memory] == [
        ("base", None, None),
        ("small", None, None),
    ]


def test_quality_is_measured_once_a_model_with_the_first_as_reference(tmp_path: Path) -> None:
    subjects = two_models(tmp_path)
    quality = [
        job
        for job in passes(all_jobs(subjects, threads=[1, 2, 4]), 5, subjects, memory=True)
        if job.measure == "quality"
    ]
    assert [(job.model, job.reference_sha256, job.block) for job in quality] == [
        ("base", subjects["base"].sha256, 0),
        ("small", subjects["base"].sha256, 0),
    ]


def test_blocks_are_interleaved_and_every_second_is_reversed(tmp_path: Path) -> None:
    jobs = interleave(all_jobs(two_models(tmp_path)), 3)
    assert [(job.model, job.block) for job in jobs] == [
        ("base", 0),
        ("small", 0),
        ("small", 1),
        ("base", 1),
        ("base", 2),
        ("small", 2),
    ]


def test_quality_is_measured_once_a_precision(tmp_path: Path) -> None:
    subjects = two_models(tmp_path)
    jobs = passes(all_jobs(subjects, precision=["fp32", "bf16"], threads=[2, 1]), 1, subjects, memory=False)
    quality = [(job.model, job.precision, job.threads) for job in jobs if job.measure == "quality"]
    assert quality == [("base", "fp32", 2), ("small", "fp32", 2), ("base", "bf16", 2), ("small", "bf16", 2)]


def test_quality_of_a_language_model_is_its_loss_on_named_data(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.npy"
    subjects = {"lm": make_subject(tmp_path, "lm", language_model(), tokens=tokens, data="prose", data_sha256="d" * 64)}
    jobs = passes(all_jobs(subjects), 2, subjects, memory=False)
    (quality,) = [job for job in jobs if job.measure == "quality"]
    assert (quality.data, quality.data_sha256, quality.reference_sha256) == ("prose", "d" * 64, None)
    assert {job.data for job in jobs if job is not quality} == {None}
    assert files_for(quality, subjects["lm"], None, tmp_path).tokens == str(tokens)
    assert files_for(jobs[0], subjects["lm"], None, tmp_path).tokens is None


def test_without_data_or_anything_to_compare_there_is_no_quality_pass(tmp_path: Path) -> None:
    alone = {"base": make_subject(tmp_path, "base")}
    talkative = {name: make_subject(tmp_path, name, language_model()) for name in ("a", "b")}
    others = {"base": make_subject(tmp_path, "base"), "other": make_subject(tmp_path, "other", perceptron(batch=5))}
    measured = {
        name: [
            job.model
            for job in passes(all_jobs(subjects, batch=[0]), 1, subjects, memory=False)
            if job.measure == "quality"
        ]
        for name, subjects in (("alone", alone), ("talkative", talkative), ("others", others))
    }
    assert measured == {"alone": [], "talkative": [], "others": []}
    assert why_not_compared(all_jobs(others, batch=[0]), others) == {
        "other": "its inputs are float32 [5, 16], and those of base are float32 [4, 16]; "
        "--batch or --inputs may give both the same"
    }
    assert why_not_compared(all_jobs(others, batch=[2]), others) == {}
    assert why_not_compared(all_jobs(talkative), talkative) == why_not_compared(all_jobs(alone), alone) == {}


def test_outputs_are_compared_where_the_sizes_that_are_run_are_the_same(tmp_path: Path) -> None:
    """Formats differ in what they say of sizes that vary: upper bounds, examples, or nothing."""
    open_sizes = perceptron(batch=1, format="pt2")
    open_sizes.methods[0]["outputs"] = [{"dtype": "float32", "sizes": [None, None]}]
    descriptions = {"bounds": perceptron(), "open": open_sizes}
    subjects = {name: make_subject(tmp_path, name, described) for name, described in descriptions.items()}

    def measured(**options: Any) -> list[str]:
        jobs = passes(all_jobs(subjects, **options), 1, subjects, memory=False)
        return [job.model for job in jobs if job.measure == "quality"]

    assert measured(batch=[2]) == ["bounds", "open"]
    assert measured(batch=[0]) == []
    open_sizes.methods[0]["outputs"] = [{"dtype": "float32", "sizes": [None, 11]}]
    assert measured(batch=[2]) == []


def test_a_size_that_is_open_is_refused_by_its_name(tmp_path: Path) -> None:
    description = perceptron(batch=1, format="pt2")
    image = {"name": "image", "kind": "tensor", "dtype": "float32", "sizes": [1, 3, None], "dynamic": ["b", None, "w"]}
    description.methods[0]["inputs"] = [image]
    with pytest.raises(UsageError, match="leaves the size w of its input image open"):
        planned(make_subject(tmp_path, "m", description), batch=[2])
    given = replace(make_subject(tmp_path, "m", description), given=((2, 3, 8),))
    assert planned(given, batch=[0])


def test_the_worker_is_told_where_things_are(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, "base")
    files = files_for(make_job(), subject, tmp_path / "in.npz", tmp_path / "out")
    assert (files.model, files.inputs, files.output) == (
        str(subject.path),
        str(tmp_path / "in.npz"),
        str(tmp_path / "out"),
    )
    assert files_for(make_job(), subject, None, tmp_path).inputs is None


@pytest.mark.parametrize(("scenario", "ends"), [("generate", (7,)), ("single-stream", None)])
def test_given_prompts_are_asked_in_every_scenario(scenario: str, ends: tuple[int, ...] | None) -> None:
    prompts = GivenPrompts([np.arange(5), np.arange(9)], "2 given prompts", 5)
    description = language_model(get_eos_ids=[7])
    subject = Subject(name="lm", path=Path("lm.pte"), sha256="0" * 64, description=description, prompts=prompts)
    (job,) = planned(subject, scenario=scenario)
    assert (job.prompt_tokens, job.prompts, job.end_tokens) == (5, "2 given prompts", ends)
