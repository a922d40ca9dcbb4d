"""From the options of `harness run` to jobs, and the jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.cli.run.flash_options import POLICIES

if TYPE_CHECKING:
    from pathlib import Path

    from harness.cli._progress import Reporter
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


def measure(
    session: Session,
    subjects: dict[str, Subject],
    sweeps: dict[str, list[Any]],
    processes: int,
    options: dict[str, Any],
    reporter: Reporter,
) -> None:
    from dataclasses import replace

    from harness.cli._energy import energy_pass, settled
    from harness.errors import UsageError
    from harness.experiment.plan import configurations, passes
    from harness.manifest import sha256_file
    from harness.scenarios import SCENARIOS

    target, inputs, dimension = session.target, options["inputs"], _dimension(options["batch_dim"])
    if inputs is not None:
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
    for subject, why_not in refused:
        reporter.note(f"{subject.name} is left out: {why_not}")
    subjects = {job.model: subjects[job.model] for job in latency}
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
    if options["skip_existing"]:
        from harness.experiment.resume import resume

        whole, jobs = len(jobs), resume(session, session.results, jobs)
        reporter.note(f"session {session.session_id}: {whole - len(jobs)} of {whole} jobs are there")
    with reporter.jobs(jobs) as advance, settled(session, file, reporter):
        for outcome in session.run_all(jobs, subjects, inputs, reporter.within, energy):
            advance(outcome)
    for subject, why_not in refused:  # last: the first model that was measured is the baseline
        session.refuse(subject, why_not)
        reporter.failure(session.failed[-1])


def _dimension(text: str | None) -> Any:
    from harness.errors import UsageError

    if text is None or text == "none":
        return text
    if not text.isdecimal() or len(text) > 3:
        raise UsageError(f"{text!r} is no dimension.", "Give --batch-dim 0, 1 and so on, or --batch-dim none.")
    return int(text)


def _given(subject: Subject, inputs: Path) -> Any:
    """The sizes of the inputs in a file; None where they do not fit the model: its worker will say so."""
    from harness.errors import UsageError
    from harness.worker.given_inputs import read_inputs

    try:
        return tuple(tuple(getattr(each, "shape", ())) for each in read_inputs(inputs, subject.method["inputs"]))
    except UsageError:
        return None
