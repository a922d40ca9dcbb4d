"""From a request and the models it names to the jobs of a run, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.batch import Sizes
from harness.energy.source import Missing, Source
from harness.errors import UsageError
from harness.experiment.energy_pass import energy_pass
from harness.experiment.given_prompts import with_given_prompts
from harness.experiment.model_source import Say
from harness.experiment.plan import Subject, configurations, passes, why_not_compared
from harness.experiment.request import RunRequest
from harness.experiment.runtime_limits import profiles
from harness.experiment.runtime_options import option_combinations
from harness.experiment.sweeps import LAST_POLICY, Sweeps
from harness.flash.names import POLICIES
from harness.job import Job
from harness.manifest import sha256_file
from harness.model_description import is_language_model, lies_in_flash
from harness.runtime import Runtime, loading_runtime, option_values
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Target


@dataclass(frozen=True)
class RunPlan:
    """What is to be run: `jobs` in order, the `latency` jobs of one block, the models of both, those that cannot do
    what is asked with the reason, where the joules of an energy pass come from, and the runtime of each model,
    None where its target's worker knows none.
    """

    jobs: list[Job]
    latency: list[Job]
    subjects: dict[str, Subject]
    refused: list[tuple[Subject, UsageError]]
    energy: Source | Missing | None
    runtimes: Mapping[str, Runtime | None]

    def options_of(self, job: Job) -> dict[str, str]:
        """The values of all options that the runtime of a job has."""
        runtime = self.runtimes.get(job.model)
        return {} if runtime is None else option_values(runtime.capabilities, job)


def make_plan(
    target: Target, subjects: Mapping[str, Subject], sweeps: Sweeps, request: RunRequest, say: Say
) -> RunPlan:
    """The jobs of a run; `request` is one that is filled in. Raises UsageError where no model can do what is asked, or
    a difference is to be resolved and there is only one that can.
    """
    assert request.processes is not None
    processes = request.processes
    if request.labels is not None and request.inputs is not None:
        subjects = {name: _labelled(subject, request.labels, request.inputs) for name, subject in subjects.items()}
    elif request.inputs is not None:
        subjects = {name: replace(subject, given=_given(subject, request.inputs)) for name, subject in subjects.items()}
    runtimes = runtimes_of(subjects, target, request)
    subjects, without = with_given_prompts(subjects, request, say)
    latency, refused = _latency_jobs(target, subjects, sweeps, request, runtimes)
    refused += without
    if refused and not latency:
        raise refused[0][1]
    if request.runtime is not None and not any(job.runtime for job in latency):
        raise UsageError(f"Runtime {request.runtime} loads none of these models.", "Leave out --runtime.")
    for subject, why_not in refused:
        say(f"{subject.name} is left out: {why_not}")
    _say_what_is_not_concerned(request, latency, subjects, say)
    subjects = {job.model: subjects[job.model] for job in latency}
    if request.resolve is not None and len(subjects) < 2:
        raise UsageError("A difference is between two models, and one is left.", "Leave out --resolve.")
    jobs = passes(
        latency,
        processes,
        subjects,
        memory=target.capabilities.memory and request.memory,
        quality=request.quality,
        given=None if request.inputs is None else request.inputs.name,
    )
    if request.quality:
        for name, why in why_not_compared(latency, subjects).items():
            subjects[name] = replace(subjects[name], unmeasured_quality=f"its outputs were not compared: {why}")
            say(f"{name}: its outputs are not compared: {why}")
    if target.capabilities.reads_alone and any(SCENARIOS[job.scenario].in_flash for job in latency):
        jobs = [job for job in jobs if job.measure != "quality"]
        why = "only reads are made on this device, and nothing is computed"
        subjects = {name: replace(subject, unmeasured_quality=why) for name, subject in subjects.items()}
    if request.ablate:  # policies read the same neurons in other ways: the last one's quality is that of all
        jobs = [job for job in jobs if job.measure != "quality" or job.policy == LAST_POLICY]
        jobs = [job for job in jobs if job.measure != "memory" or not job.block]  # no part of its table
        say(f"{len(POLICIES)} policies, {len(jobs)} processes of some seconds each, one after the other")
    energy = None
    if request.energy or request.energy_csv is not None:
        energy, metered = energy_pass(target, request.energy_csv, latency, processes, say)
        jobs += metered
    if request.profile:
        first_of_model = {job.model: job for job in reversed(latency)}
        jobs += [
            replace(first_of_model[name], measure="profile")
            for name, subject in subjects.items()
            if profiles(request, target, subject.path, runtimes[name])
        ]
    # Their number is not fixed, which is part of what was asked of them.
    jobs = [replace(job, resolve=request.resolve) if job.measure == "latency" else job for job in jobs]
    latency = [replace(job, resolve=request.resolve) for job in latency]
    return RunPlan(jobs, latency, dict(subjects), refused, energy, runtimes)


def _latency_jobs(
    target: Target,
    subjects: Mapping[str, Subject],
    sweeps: Sweeps,
    request: RunRequest,
    runtimes: Mapping[str, Runtime | None],
) -> tuple[list[Job], list[tuple[Subject, UsageError]]]:
    """Those of one block, and the models that cannot do what is asked."""
    shared: dict[str, Any] = {
        "runtime": request.runtime,
        "compile": request.compile,
        "min_iterations": request.min_iterations,
        "min_duration_s": request.min_duration_s,
        "max_duration_s": request.max_duration_s,
        "max_warmup_s": request.max_warmup_s,
        "max_tokens": request.max_eval_tokens,
        "inputs_sha256": None if request.inputs is None else sha256_file(request.inputs),
        "labels_sha256": None if request.labels is None else sha256_file(request.labels),
    }
    shared |= sweeps.shared
    dimension = request.batch_dim if request.labels is None else 0  # samples are counted by the first
    latency: list[Job] = []
    refused: list[tuple[Subject, UsageError]] = []
    for subject in subjects.values():
        swept: dict[str, Sequence[Any]] = {
            name: values for name, values in sweeps.swept.items() if name not in subject.fields
        }
        swept["runtime_options"] = option_combinations(request, runtimes[subject.name])
        try:
            latency += configurations(
                subject, target.name, request.scenario, swept, {**shared, **subject.fields}, dimension
            )
        except UsageError as error:
            refused.append((subject, error))
    return latency, refused


def _say_what_is_not_concerned(
    request: RunRequest, latency: Sequence[Job], subjects: Mapping[str, Subject], say: Say
) -> None:
    """Of options that hold for some models alone."""
    if others := dict.fromkeys(job.model for job in latency if job.runtime != request.runtime):
        say(f"--runtime {request.runtime} does not concern {', '.join(others)}: such models have a table of their own.")
    lengths = [flag for flag in ("prompt_tokens", "new_tokens", "prompt_file") if getattr(request, flag) is not None]
    lengths += [flag for flag, given in (("prompt", request.prompts), ("tokenizer", request.tokenizers)) if given]
    plain = [name for name in dict.fromkeys(job.model for job in latency) if not _takes_tokens(subjects[name])]
    if lengths and plain:
        flags = " and ".join(f"--{flag.replace('_', '-')}" for flag in lengths)
        verb = "is" if len(plain) == 1 else "are"
        kind = "no language model" if len(plain) == 1 else "no language models"
        say(f"{flags} {'does' if len(lengths) == 1 else 'do'} not concern {', '.join(plain)}, which {verb} {kind}.")


def _takes_tokens(subject: Subject) -> bool:
    return lies_in_flash(subject.description) or is_language_model(subject.description)


def runtimes_of(subjects: Mapping[str, Subject], target: Target, request: RunRequest) -> dict[str, Runtime | None]:
    """The runtime of each model, None where the target's worker is no matter of runtimes."""
    names = target.capabilities.runtimes
    return {name: loading_runtime(subject.path.suffix, names, request.runtime) for name, subject in subjects.items()}


def by_policy(subjects: Mapping[str, Subject]) -> dict[str, Subject]:
    """Each model once a policy, by a name that says both. Its text is that of prompts; the quality of the last policy,
    which has every step, is that of all.
    """
    labelled = [
        (f"{name} {policy if policy in ('none', 'hybrid') else f'+ {policy}'}", subject, policy)
        for name, subject in subjects.items()
        for policy in POLICIES
    ]
    return {
        label: replace(subject, name=label, fields={"policy": policy, "ablation": subject.name})
        for label, subject, policy in labelled
    }


def _labelled(subject: Subject, labels: Path, samples: Path) -> Subject:
    """A model with the classes of its inputs. Raises UsageError for a language model, and for labels that are not those
    of these samples.
    """
    from harness.worker.labelled import check_labels  # torch reads some of these files

    if is_language_model(subject.description):
        raise UsageError(f"{subject.name} is a language model, which has no classes.", "Leave out --labels.")
    check_labels(labels, samples, subject.method["inputs"])
    return replace(subject, labels=labels)


def _given(subject: Subject, inputs: Path) -> Sizes | None:
    """The sizes of the inputs in a file; None where they do not fit the model: its worker will say so."""
    from harness.worker.given_inputs import read_inputs

    try:
        return tuple(tuple(getattr(array, "shape", ())) for array in read_inputs(inputs, subject.method["inputs"]))
    except UsageError:
        return None
