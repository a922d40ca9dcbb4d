"""From the options of `harness run` to jobs, and the jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.cli.run.flash_options import POLICIES

if TYPE_CHECKING:
    from pathlib import Path

    from harness.cli._progress import Reporter
    from harness.cli._resolve import Blocks
    from harness.errors import UsageError
    from harness.experiment.plan import Subject
    from harness.experiment.session import Session
    from harness.job import Job
    from harness.target import Target


def processes_of(target: Target, scenario: str | None) -> int:
    return 1 if scenario == "sustained" or target.capabilities.latency in (None, "estimated") else 5


def defaults(target: Target) -> dict[str, Any]:
    """Of the options that have no one default: a count needs neither many queries nor a second, and an emulator takes a
    hundred times as long for each. Otherwise the queries are the scenario's (`harness.experiment.plan`).
    """
    if target.capabilities.latency is None:
        return {"min_iterations": 3, "min_duration": 0.0, "max_eval_tokens": 512}
    return {"min_duration": 1.0}


def sweeps_of(options: dict[str, Any], target: Target) -> dict[str, list[Any]]:
    """The values of every option that sweeps. Raises UsageError for one that cannot be read."""
    from harness.errors import UsageError
    from harness.experiment.plan import parse_sweep
    from harness.target import Conditioned

    if options["profile"] and not target.capabilities.per_operator:
        raise UsageError(
            f"Target {target.name} cannot time operators here: {target.device()} has no clock.",
            "Leave out --profile, or give a real device.",
        )
    if options["cpus"] and not target.capabilities.pinning:
        raise UsageError(f"Target {target.name} cannot pin processors.", "Leave out --cpus.")
    sweeps: dict[str, list[Any]] = {
        name: parse_sweep(options[name])
        for name in ("threads", "batch", "prompt_tokens", "new_tokens")
        if options[name] is not None
    }
    wanted = target.cpus if isinstance(target, Conditioned) else None
    if options["precision"] is not None:
        sweeps["precision"] = _precisions(options["precision"], target)
    sweeps["cpus"] = [tuple(sorted(parse_sweep(cpus))) for cpus in options["cpus"]] or [wanted]
    return sweeps


def _precisions(text: str, target: Target) -> list[str]:
    """The precisions in a list. Raises UsageError for one that the target cannot be asked to compute in."""
    from harness.errors import UsageError

    known = target.capabilities.precisions
    if not known:
        raise UsageError(f"Target {target.name} computes in the file's own precision.", "Leave out --precision.")
    wanted = list(dict.fromkeys(text.split(",")))
    if unknown := [each for each in wanted if each not in known]:
        raise UsageError(f"There is no precision {unknown[0]!r}.", f"Choose from: {', '.join(known)}.")
    return wanted


@dataclass(frozen=True)
class Plan:
    """What is to be run: `jobs` in order, the `latency` jobs of one block, the models of both, those that cannot do
    what is asked with the reason, and where the joules of an energy pass come from.
    """

    jobs: list[Job]
    latency: list[Job]
    subjects: dict[str, Subject]
    refused: list[tuple[Subject, UsageError]]
    energy: Any


def plan(
    target: Target,
    subjects: dict[str, Subject],
    sweeps: dict[str, list[Any]],
    processes: int,
    options: dict[str, Any],
    reporter: Reporter,
) -> Plan:
    """The jobs of a run. Raises UsageError where no model can do what is asked, or a difference is to be resolved and
    there is only one that can.
    """
    from dataclasses import replace

    from harness.cli._energy import energy_pass
    from harness.errors import UsageError
    from harness.experiment.plan import configurations, passes
    from harness.manifest import sha256_file
    from harness.scenarios import SCENARIOS

    inputs, dimension, labels = options["inputs"], _dimension(options["batch_dim"]), options["labels"]
    if labels is not None:
        subjects, dimension = _labelled(subjects, labels, inputs, dimension)
    elif inputs is not None:
        subjects = {name: replace(subject, given=_given(subject, inputs)) for name, subject in subjects.items()}
    fixed: dict[str, Any] = {
        "runtime": options["runtime"],
        "compile": options["compiled"],
        "min_iterations": options["min_iterations"],
        "min_duration_s": options["min_duration"],
        "max_duration_s": options["max_duration"],
        "max_warmup_s": options["max_warmup"],
        "max_tokens": options["max_eval_tokens"],
        "inputs_sha256": sha256_file(inputs) if inputs else None,
        "labels_sha256": sha256_file(labels) if labels else None,
    }
    fixed |= options["fields"]
    latency: list[Job] = []
    refused: list[tuple[Subject, UsageError]] = []
    for subject in subjects.values():
        try:
            latency += configurations(
                subject,
                target.name,
                options["scenario"],
                {name: values for name, values in sweeps.items() if name not in subject.fields},
                {**fixed, **subject.fields},
                dimension,
            )
        except UsageError as error:
            refused.append((subject, error))
    if refused and not latency:
        raise refused[0][1]
    if options["runtime"] is not None and not any(job.runtime for job in latency):
        raise UsageError(f"Runtime {options['runtime']} loads none of these models.", "Leave out --runtime.")
    for subject, why_not in refused:
        reporter.note(f"{subject.name} is left out: {why_not}")
    subjects = {job.model: subjects[job.model] for job in latency}
    if options["resolve"] is not None and len(subjects) < 2:
        raise UsageError("A difference is between two models, and one is left.", "Leave out --resolve.")
    memory = target.capabilities.memory and not options["no_memory"]
    name = inputs.name if inputs is not None else None
    jobs = passes(latency, processes, subjects, memory=memory, quality=not options["no_quality"], given=name)
    if target.capabilities.reads_alone and any(SCENARIOS[job.scenario].in_flash for job in latency):
        jobs = [job for job in jobs if job.measure != "quality"]
        why = "only reads are made on this device, and nothing is computed"
        subjects = {name: replace(subject, unmeasured_quality=why) for name, subject in subjects.items()}
    if options.get("ablate"):  # policies read the same neurons in other ways: the last one's quality is that of all
        jobs = [job for job in jobs if job.measure != "quality" or job.policy == POLICIES[-1]]
        jobs = [job for job in jobs if job.measure != "memory" or not job.block]  # no part of its table
        reporter.note(f"{len(POLICIES)} policies, {len(jobs)} processes of some seconds each, one after the other")
    energy, file = None, options.get("energy_csv")
    if options["energy"] or file is not None:
        energy, metered = energy_pass(target, file, latency, processes, reporter)
        jobs += metered
    if options["profile"]:
        first_of_model = {job.model: job for job in reversed(latency)}
        jobs += [replace(first_of_model[name], measure="profile") for name in subjects]
    # Their number is not fixed, which is part of what was asked of them.
    jobs = [replace(job, resolve=options["resolve"]) if job.measure == "latency" else job for job in jobs]
    latency = [replace(job, resolve=options["resolve"]) for job in latency]
    return Plan(jobs, latency, subjects, refused, energy)


def measure(
    session: Session,
    subjects: dict[str, Subject],
    sweeps: dict[str, list[Any]],
    processes: int,
    options: dict[str, Any],
    reporter: Reporter,
) -> None:
    from harness.cli._energy import settled

    planned = plan(session.target, subjects, sweeps, processes, options, reporter)
    jobs: list[Job] = planned.jobs
    done: list[str] = []
    if options["skip_existing"]:
        from harness.experiment.plan import block_of
        from harness.experiment.resume import resume
        from harness.statistics.looks import MOST_BLOCKS

        numbers = range(processes, MOST_BLOCKS) if options["resolve"] is not None else ()
        added = [job for number in numbers for job in block_of(planned.latency, number)]
        left = resume(session, session.results, [*jobs, *added])
        done = list({job.job_id for job in (*jobs, *added)} - {job.job_id for job in left})
        here = {job.job_id for job in added}
        whole, jobs = len(jobs), [job for job in left if job.job_id not in here]
        more = len(here & set(done))
        reporter.note(
            f"session {session.session_id}: {whole - len(jobs)} of {whole} jobs are there"
            + (f", and {more} of added blocks" if more else "")
        )
    growing = None
    if options["resolve"] is not None:
        growing = _growing(session, planned, jobs, processes, done, options)
        jobs = growing.jobs
    file = options.get("energy_csv")
    with reporter.jobs(jobs) as advance, settled(session, file, reporter):
        running = session.run_all(
            jobs if growing is None else growing, planned.subjects, options["inputs"], reporter.within, planned.energy
        )
        for outcome in running:
            look = growing.ended(outcome) if growing is not None else None
            advance(outcome)
            if look is not None:
                reporter.note(look)
    for subject, why_not in planned.refused:  # last: the first model that was measured is the baseline
        session.refuse(subject, why_not)
        reporter.failure(session.failed[-1])


def _growing(
    session: Session,
    planned: Plan,
    jobs: list[Job],
    processes: int,
    done: list[str],
    options: dict[str, Any],
) -> Blocks:
    """The jobs of a run that adds blocks, and what an earlier part of its session measured."""
    from harness.cli._resolve import Blocks
    from harness.experiment.arrivals import parse_seconds
    from harness.store.dataset import read_sessions

    return Blocks(
        jobs,
        planned.latency,
        processes,
        options["resolve"],
        None if options["max_time"] is None else parse_seconds(options["max_time"]),
        done,
        read_sessions(session.results, [session.session_id]) if done else None,
    )


def _dimension(text: str | None) -> Any:
    from harness.errors import UsageError

    if text is None or text == "none":
        return text
    if not text.isdecimal() or len(text) > 3:
        raise UsageError(f"{text!r} is no dimension.", "Give --batch-dim 0, 1 and so on, or --batch-dim none.")
    return int(text)


def _labelled(
    subjects: dict[str, Subject], labels: Path, inputs: Path | None, dimension: Any
) -> tuple[dict[str, Subject], int]:
    """The models with the labels of their inputs, and the dimension of the batch: samples are in the first.

    Raises UsageError where the labels say nothing: without inputs, and of a language model.
    """
    from dataclasses import replace

    from harness.errors import UsageError
    from harness.model_description import is_language_model

    if inputs is None:
        raise UsageError("Labels say nothing without the samples that they are of.", "Give these with --inputs.")
    if dimension not in (None, 0):
        raise UsageError(
            "Labelled samples are in the first dimension.", "Leave out --batch-dim, or leave out --labels."
        )
    if language := [name for name, subject in subjects.items() if is_language_model(subject.description)]:
        raise UsageError(f"{language[0]} is a language model, which has no classes.", "Leave out --labels.")
    return {name: replace(subject, labels=labels) for name, subject in subjects.items()}, 0


def _given(subject: Subject, inputs: Path) -> Any:
    """The sizes of the inputs in a file; None where they do not fit the model: its worker will say so."""
    from harness.errors import UsageError
    from harness.worker.given_inputs import read_inputs

    try:
        return tuple(tuple(getattr(each, "shape", ())) for each in read_inputs(inputs, subject.method["inputs"]))
    except UsageError:
        return None
