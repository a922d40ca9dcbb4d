"""From what the user asked to an ordered list of jobs: every combination of the options, in interleaved blocks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.batch import Asked, Dimension, Sizes, find_batch, why_unknown
from harness.errors import UsageError
from harness.job import Files, Job
from harness.language.prompts import EVALUATION_TEXT, GivenPrompts, Prompts, cut, stretches
from harness.language.token_file import read_tokens
from harness.language.tokenizer import Tokenizer
from harness.made_inputs import count_sets, covers, find_limits
from harness.manifest import Manifest
from harness.model_description import find_method, is_language_model, lies_in_flash, longest_prompt, may_vary
from harness.protocol import Describe
from harness.runtime import compiles, concerns
from harness.scenarios.catalogue import SCENARIOS, default_scenario

# Peak memory differs by less than a hundredth between processes; three show it.
MEMORY_PROCESSES = 3
# A model in flash takes milliseconds a token, twice: once whole, once as its predictors have it.
FLASH_EVALUATION_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to be measured: its file, what the worker reported of it, and what its manifest knows.

    `data_file` holds its weights where they are not in the program; `given` are the sizes of the inputs that the user
    gives. `tokens` is an int64 `.npy` file to evaluate a language model on, `data` and `data_sha256` name where it came
    from; `tokenizer` is what made them, and `prompts` are those that the user gives, in its tokens; `labels` are the
    classes of the samples that the user gives; `python` is the interpreter that its workers run in, None for this one.
    `fields` of its jobs are other than those of the other subjects' jobs.
    """

    name: str
    path: Path
    sha256: str
    description: Describe
    manifest: Manifest | None = None
    data_file: Path | None = None
    given: Sizes | None = None
    tokens: Path | None = None
    labels: Path | None = None
    data: str | None = None
    data_sha256: str | None = None
    unmeasured_quality: str | None = None
    tokenizer: Tokenizer | None = None
    prompts: GivenPrompts | None = None
    python: Path | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> dict[str, Any]:
        """The method that is measured."""
        return find_method(self.description, self.fields.get("method"))


def combinations(options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of each option, the last option varying fastest."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def configurations(
    subject: Subject,
    target: str,
    scenario: str | None,
    options: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any],
    batch_dimension: Dimension = None,
) -> list[Job]:
    """The latency jobs of one model, block 0: one a combination, with the scenario's own defaults filled in.

    `batch_dimension` is which dimension of the inputs is the batch, where the user says so. Raises UsageError when the
    model cannot do what is asked (a prompt longer than its context, a batch of sequences).
    """
    flash = lies_in_flash(subject.description)
    language = flash or is_language_model(subject.description)
    scenario = scenario or default_scenario(language_model=language, in_flash=flash)
    if SCENARIOS[scenario].in_flash != flash:
        raise UsageError(
            f"The feed-forward weights of {subject.name} lie in flash, so it cannot {scenario}."
            if flash
            else f"The feed-forward weights of {subject.name} do not lie in flash.",
            "Use --scenario flash." if flash else "Build it with `harness flash build`, or choose another --scenario.",
        )
    if SCENARIOS[scenario].language_models and not language:
        raise UsageError(
            f"{subject.name} is no language model by ExecuTorch's convention, so it cannot {scenario}.",
            "Use --scenario single-stream or offline.",
        )
    jobs = []
    if fixed.get("compile") and not compiles(f".{subject.description.format}"):
        fixed = {**fixed, "compile": False}
    if fixed.get("runtime") is not None and not concerns(fixed["runtime"], subject.path.suffix):
        fixed = {**fixed, "runtime": None}  # it is one for other formats
    if fixed.get("min_iterations") is None:
        fixed = {**fixed, "min_iterations": SCENARIOS[scenario].queries}
    for values in combinations(options):
        job = Job(
            target=target, model=subject.name, model_sha256=subject.sha256, scenario=scenario, **{**fixed, **values}
        )
        if job.threads < 1:
            raise UsageError("A model cannot run on 0 threads.", "Give --threads 1 or more.")
        job = _fill_tokens(job, subject) if language else _fill_batch(job, subject, batch_dimension)
        if flash:
            job = replace(
                job,
                prompts_sha256=subject.data_sha256,
                max_tokens=FLASH_EVALUATION_TOKENS if job.max_tokens is None else job.max_tokens,
            )
        if job.streams is not None and job.batch is None:
            raise UsageError(
                f"A query of {job.streams} samples cannot be made: "
                f"{why_unknown(subject.name, input_sizes(job, subject))}.",
                "Say what one sample is with --batch-dim N, --batch-dim none or --batch.",
            )
        if job.streams is not None and job.batch is not None and job.streams % job.batch:
            raise UsageError(
                f"A query of {job.streams} samples cannot be made of batches of {job.batch}.",
                "Give a --batch that divides --streams.",
            )
        jobs.append(job)
    return list(dict.fromkeys(jobs))


def interleave(jobs: Sequence[Job], processes: int) -> list[Job]:
    """`processes` blocks of all jobs, every second block in reverse order (ABBA), so that a drift of the machine
    meets all alike.
    """
    return [job for number in range(processes) for job in block_of(jobs, number)]


def block_of(jobs: Sequence[Job], number: int) -> list[Job]:
    """The block of that number."""
    return [replace(job, block=number) for job in (jobs if number % 2 == 0 else reversed(jobs))]


def passes(
    latency: Sequence[Job],
    processes: int,
    subjects: Mapping[str, Subject],
    *,
    memory: bool,
    quality: bool = True,
    given: str | None = None,
) -> list[Job]:
    """All jobs in order: memory first (it fails early if a model cannot run), then latency, then quality once a
    model, precision and options of its runtime. `given` names the inputs that the user gives.
    """
    jobs: list[Job] = []
    if memory:
        alone = [replace(job, measure="memory", rate_queries_per_s=None, latency_bound_ns=None) for job in latency]
        jobs += interleave(list(dict.fromkeys(alone)), min(processes, MEMORY_PROCESSES))
    jobs += interleave(latency, processes)
    if quality:
        for precision in dict.fromkeys(job.precision for job in latency):
            alike = [job for job in reversed(latency) if job.precision == precision]
            once = {(job.model, job.runtime_options): job for job in alike}
            jobs += _quality(list(once.values())[::-1], subjects, given)
    return jobs


def why_not_compared(latency: Sequence[Job], subjects: Mapping[str, Subject]) -> dict[str, str]:
    """Of each model whose outputs cannot be set against those of the first one: why, and what to do."""
    in_memory = [
        job
        for job in {job.model: job for job in latency if job.precision == latency[0].precision}.values()
        if not lies_in_flash(subjects[job.model].description) and subjects[job.model].tokens is None
    ]
    reasons = {}
    for job in in_memory[1:]:
        pair = (job, subjects[job.model]), (in_memory[0], subjects[in_memory[0].model])
        if _comparable(*pair[0], *pair[1]) or any(is_language_model(subject.description) for _, subject in pair):
            continue
        inputs = [_inputs_in_words(*model) for model in pair]
        outputs = [_outputs_in_words(subject) for _, subject in pair]
        what, (its, those) = ("outputs", outputs) if inputs[0] == inputs[1] else ("inputs", inputs)
        advice = "" if what == "outputs" else "; --batch or --inputs may give both the same"
        reasons[job.model] = f"its {what} are {its}, and those of {in_memory[0].model} are {those}{advice}"
    return reasons


def _inputs_in_words(job: Job, subject: Subject) -> str:
    described = zip(subject.method["inputs"], input_sizes(job, subject), strict=True)
    return ", ".join(f"{meta['dtype']} {list(sizes)}" for meta, sizes in described)


def _outputs_in_words(subject: Subject) -> str:
    return ", ".join(f"{meta['dtype']} {list(meta['sizes'])}" for meta in subject.method["outputs"])


def files_for(job: Job, subject: Subject, inputs: Path | None, output: Path) -> Files:
    """Where the worker finds what a job needs."""
    asked = None
    if job.prompts is not None and (prompts := prompts_for(job, subject)) is not None:
        asked = output / "prompts.npy"
        np.save(asked, prompts.tokens)
    in_flash = SCENARIOS[job.scenario].in_flash
    evaluated = (job.measure == "quality" and job.data_sha256) or (in_flash and job.prompts_sha256)
    return Files(
        model=str(subject.path),
        data=None if subject.data_file is None else str(subject.data_file),
        inputs=None if inputs is None else str(inputs),
        labels=None if subject.labels is None or job.measure != "quality" else str(subject.labels),
        tokens=str(subject.tokens) if evaluated else None,
        prompts=None if asked is None else str(asked),
        output=str(output),
        python=None if subject.python is None else str(subject.python),
    )


def _quality(jobs: Sequence[Job], subjects: Mapping[str, Subject], given: str | None) -> list[Job]:
    """One quality job for each model that has a text to be evaluated on, or whose outputs can be set against those of
    the first model; the first itself then runs for its outputs.
    """
    quality_jobs = []
    # What lies in flash goes through several methods, and is compared by its loss alone.
    in_memory = [job for job in jobs if not lies_in_flash(subjects[job.model].description)]
    alike = [
        job for job in in_memory if _comparable(job, subjects[job.model], in_memory[0], subjects[in_memory[0].model])
    ]
    compared = [job for job in alike if subjects[job.model].tokens is None]
    shared = _same_inputs(compared, subjects, given) if len(alike) > 1 and compared else {}
    for job in jobs:
        subject = subjects[job.model]
        if subject.tokens is not None:
            quality_jobs.append(replace(job, measure="quality", data=subject.data, data_sha256=subject.data_sha256))
        elif job in alike and len(alike) > 1 and not is_language_model(subject.description):
            quality_jobs.append(
                replace(job, measure="quality", max_tokens=None, reference_sha256=alike[0].model_sha256, **shared)
            )
        elif subject.labels is not None and job in in_memory:
            quality_jobs.append(
                replace(job, measure="quality", max_tokens=None, **_same_inputs([job], subjects, given))
            )
    return quality_jobs


def _same_inputs(jobs: Sequence[Job], subjects: Mapping[str, Subject], given: str | None) -> dict[str, Any]:
    """Fields of the jobs whose outputs are compared: all models get the same inputs, whose integers are in the range of
    each of them.
    """
    if given is not None:
        return {"data": f"the inputs in {given}"}
    first = subjects[jobs[0].model]
    each = [find_limits(subjects[job.model].method["inputs"], subjects[job.model].description.metadata) for job in jobs]
    limits = tuple(
        min((limit for limit in known if limit is not None), default=None) for known in zip(*each, strict=True)
    )
    sizes = input_sizes(jobs[0], first)
    sets = count_sets(first.method, sizes, limits, jobs[0].max_tokens)
    seen = "" if covers(first.method["inputs"], sizes, limits, sets) else ", in which not every integer occurs"
    data = f"{sets} made inputs, seed {jobs[0].seed}{seen}"
    return {"data": data, "input_sets": sets, "input_limits": limits, "input_sizes": jobs[0].input_sizes}


def input_sizes(job: Job, subject: Subject) -> Sizes:
    """The sizes of the inputs that a job is run with, `()` for those that are no tensors."""
    return job.input_sizes or subject.given or tuple(tuple(meta["sizes"]) for meta in subject.method["inputs"])


def _comparable(job: Job, subject: Subject, first_job: Job, first: Subject) -> bool:
    """Whether two models take the same inputs as they are run, and may give outputs of the same sizes: formats differ
    in what they say of those that vary, above all of the first.
    """
    runs = [
        [
            (meta["dtype"], tuple(sizes))
            for meta, sizes in zip(model.method["inputs"], input_sizes(run, model), strict=True)
        ]
        for run, model in ((job, subject), (first_job, first))
    ]
    outputs, others = subject.method["outputs"], first.method["outputs"]
    return (
        runs[0] == runs[1]
        and [meta["dtype"] for meta in outputs] == [meta["dtype"] for meta in others]
        and all(_may_be_alike(meta["sizes"], other["sizes"]) for meta, other in zip(outputs, others, strict=True))
    )


def _may_be_alike(sizes: Sequence[int | None], others: Sequence[int | None]) -> bool:
    behind = zip(sizes[1:], others[1:], strict=False)
    return len(sizes) == len(others) and all(size == other or None in (size, other) for size, other in behind)


def _fill_tokens(job: Job, subject: Subject) -> Job:
    metadata = subject.description.metadata
    in_flash = SCENARIOS[job.scenario].in_flash  # a prompt goes in token by token, through several methods
    longest = int(metadata["get_max_seq_len"]) if in_flash else longest_prompt(subject.description)
    context = int(metadata.get("get_max_context_len") or metadata.get("get_max_seq_len") or longest)
    if in_flash:
        longest = context
    prompt, new = job.prompt_tokens, job.new_tokens
    if (given := subject.prompts) is not None:
        prompt = given.length if prompt is None else prompt
        if prompt > given.length:
            raise UsageError(
                f"{given.source} has {given.length} tokens at the shortest, not {prompt}.",
                "Give a smaller --prompt-tokens, or leave it out.",
            )
    if prompt is None:
        prompt = max(1, min(128, longest, context // 2, context + 1 - (new or 1)))
    if new is None:
        new = max(1, min(128, context - prompt + 1))
    if prompt < 1 or new < 1 or prompt > longest or prompt + new - 1 > context:
        raise UsageError(
            f"{subject.name} takes at most {longest} tokens at once and {context} in all, not {prompt} and {new} more.",
            "Give a smaller --prompt-tokens or --new-tokens.",
        )
    if (job.batch or 0) > 1:
        raise UsageError(f"{subject.name} follows ExecuTorch's LLM convention, whose batch is 1.", "Leave out --batch.")
    generates = SCENARIOS[job.scenario].generates
    job = replace(job, batch=1, prompt_tokens=prompt, new_tokens=new if generates else None)
    if in_flash or (prompts := prompts_for(job, subject)) is None:
        return job
    ends = end_tokens(subject) if prompts.given and generates else None
    return replace(job, prompts=prompts.source, prompts_sha256=prompts.sha256, end_tokens=ends)


def prompts_for(job: Job, subject: Subject) -> Prompts | None:
    """The prompts that a language model is asked in turn, of the length that a job says: given ones, or stretches of
    its evaluation text; None where they are to be made at random.
    """
    length = job.prompt_tokens or 1
    if subject.prompts is not None:
        return Prompts(cut(subject.prompts.tokens, length), subject.prompts.source, given=True)
    if subject.tokens is None:
        return None
    try:
        text = stretches(read_tokens(subject.tokens).astype(np.int64), length)
    except UsageError:  # a text that is none, or not in the model's tokens, is for its quality pass to refuse
        return None
    if text is None or text.max() >= int(subject.description.metadata["get_vocab_size"]):
        return None
    return Prompts(text, EVALUATION_TEXT, given=False)


def end_tokens(subject: Subject) -> tuple[int, ...]:
    """The tokens that end what a model generates: as its program says, else as its tokenizer does; none where neither
    does.
    """
    said = subject.description.metadata.get("get_eos_ids")
    ends = said if isinstance(said, list) else [said] if isinstance(said, int) else []
    return tuple(int(end) for end in ends or (subject.tokenizer.ends if subject.tokenizer is not None else ()))


def _fill_batch(job: Job, subject: Subject, dimension: Dimension) -> Job:
    """A batch of 0 means the file's own."""
    asked = Asked(job.batch or 0, dimension, subject.given)
    batch = find_batch(subject.name, subject.method, asked)
    for meta, chosen in zip(subject.method["inputs"], batch.sizes, strict=True):
        if None in chosen:
            names = [str(name) for name, size in zip(meta["dynamic"], chosen, strict=True) if size is None]
            raise UsageError(
                f"{subject.name} leaves the size {' and '.join(names)} of its input {meta.get('name', '')} open.",
                "Give inputs of the sizes that you want with --inputs, or export it with fixed sizes.",
            )
    # Where the file does not fix them, those that were chosen belong to the conditions.
    vary = any(may_vary(meta) for meta in subject.method["inputs"])
    sizes = batch.sizes if subject.given is None and vary else None
    return replace(job, batch=batch.size, input_sizes=sizes, prompt_tokens=None, new_tokens=None)
