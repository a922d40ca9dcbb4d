"""One run from its request to its end: the models are found and described, their jobs planned, and run one by one, each
stored as soon as it has ended. The command line, Python and the nights all come through here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import Interrupted, UsageError
from harness.experiment.energy_pass import settled
from harness.experiment.interpreters import find_interpreters, labels_in
from harness.experiment.model_source import ModelSource
from harness.experiment.plan import Subject, block_of
from harness.experiment.progress import Ended, Failed, Measuring, Note, Progress, Waiting, Working, ignore
from harness.experiment.request import RunRequest
from harness.experiment.resume import resume
from harness.experiment.run_plan import RunPlan, by_policy, make_plan
from harness.experiment.runner import Attempt
from harness.experiment.runtime_limits import check_runtimes
from harness.experiment.session import Session, open_session
from harness.experiment.subjects import describe_all, find_files, find_files_in_flash
from harness.experiment.sweeps import Sweeps, check_resolve, filled_in, sweeps_of, waiting_threads
from harness.job import Job
from harness.lease import lease
from harness.runtime import loading_runtime
from harness.scratch import ScratchFolder
from harness.statistics.looks import MOST_BLOCKS
from harness.store.unfinished import delete_unfinished
from harness.store.writer import prepare
from harness.target import Adjustable, Target, find_target

if TYPE_CHECKING:
    from harness.experiment.added_blocks import AddedBlocks
    from harness.experiment.forecast import Forecast


@dataclass(frozen=True)
class Failure:
    """A job that failed: its model and pass, what happened, and what to do."""

    model: str
    measure: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.measure} {self.model}: {self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the `session_id` of its rows in `results`, how many jobs ended well, which failed, and how many
    were skipped since their model had failed before.
    """

    session_id: str
    results: Path
    succeeded: int
    failures: tuple[Failure, ...]
    skipped: int


@dataclass(frozen=True)
class _Prepared:
    """A request with everything that is known before a worker starts."""

    request: RunRequest
    target: Target
    sweeps: Sweeps
    files: dict[str, Path]
    interpreters: dict[str, list[tuple[str, Path]]]


def run(request: RunRequest, results: Path, source: ModelSource, progress: Progress = ignore) -> Outcome:
    """Measure what is asked and store it in `results`, a folder or bucket.

    Raises UsageError for what cannot be asked here, StoreError where rows cannot be stored, and Interrupted, after what
    had ended was stored, where the user stops it. Models and jobs that fail are in the outcome.
    """
    target = available_target(request)
    prepare(results)
    if deleted := delete_unfinished(results).deleted:
        progress(Note(f"deleted {len(deleted)} files that killed processes had not finished in {results}"))
    prepared = _prepare(request, target, source, progress)
    request = prepared.request
    with (
        _leased(prepared, progress),
        target.adjusted() if isinstance(target, Adjustable) else nullcontext(),
        open_session(target, results, request.timeout_s + prepared.sweeps.shared.get("min_duration_s", 0.0)) as session,
        _interruptible(session, results),
    ):
        subjects = _subjects(session, prepared, source, progress)
        if subjects:
            _measure(session, subjects, prepared, progress)
    return Outcome(
        session.session_id,
        results,
        session.succeeded,
        tuple(_failure(attempt) for attempt in session.failed),
        len(session.skipped),
    )


def forecast(request: RunRequest, results: Path, source: ModelSource, progress: Progress = ignore) -> Forecast | None:
    """What `run` would do, with what earlier sessions in `results` tell of it; None where no model can be described. A
    worker describes the models; nothing is measured or stored.
    """
    from harness.experiment.forecast import forecast_of  # pandas takes a second to import

    target = available_target(request)
    prepared = _prepare(request, target, source, progress)
    request = prepared.request
    assert request.processes is not None
    # A worker describes the models, which would disturb another run on the device.
    with (
        _leased(prepared, progress),
        ScratchFolder() as nowhere,
        open_session(target, Path(nowhere), request.timeout_s) as session,
    ):
        begun_s = time.monotonic()
        subjects = _subjects(session, prepared, source, progress)
        if not subjects:
            return None
        starting_s = (time.monotonic() - begun_s) / session.position
        plan = make_plan(target, subjects, prepared.sweeps, request, lambda text: progress(Note(text)))
    return forecast_of(plan, target, results, request.processes, request.resolve, starting_s)


def available_target(request: RunRequest) -> Target:
    """The target of a request, with what that chooses of it. Raises UsageError where it is not available."""
    chosen = {
        "device": request.device,
        "devices": None if request.devices is None else str(request.devices),
        "runtime": request.runtime,
        "clock": request.clock,
    }
    target = find_target(request.target, **{name: value for name, value in chosen.items() if value is not None})
    state = target.availability()
    if not state.available:
        raise UsageError(f"Target {target.name} is not available here: {state.reason}.", state.todo)
    return target


def _prepare(request: RunRequest, target: Target, source: ModelSource, progress: Progress) -> _Prepared:
    def say(text: str) -> None:
        progress(Note(text))

    if target.capabilities.latency is None:
        say(f"{target.name}: {target.summary}")
    sweeps = sweeps_of(request, target)
    check_resolve(request, target)
    if (waiting := waiting_threads(request, target)) is not None:
        say(waiting)
    models = request.models
    if request.scenario == "flash":
        models = find_files_in_flash(request, target, source, say)
    files = find_files(models, target, source, say)
    runtimes = {
        name: loading_runtime(path.suffix, target.capabilities.runtimes, request.runtime)
        for name, path in files.items()
    }
    check_runtimes(request, target, files, runtimes, say)
    interpreters = find_interpreters(request.pythons, runtimes)
    labelled = {
        name: list(zip(labels_in(interpreters, runtime), request.pythons, strict=True))
        for name, runtime in runtimes.items()
    }
    return _Prepared(filled_in(request, target), target, sweeps, files, labelled)


@contextmanager
def _leased(prepared: _Prepared, progress: Progress) -> Iterator[None]:
    device = prepared.target.device()

    def wait(holder: str) -> None:
        progress(Waiting(f"waiting for {holder}, which holds {device}"))

    with lease(f"{prepared.target.name}-{device}", prepared.request.lease_timeout_s, wait):
        yield


def _subjects(session: Session, prepared: _Prepared, source: ModelSource, progress: Progress) -> dict[str, Subject]:
    subjects = describe_all(session, prepared.files, prepared.interpreters, prepared.request, source, progress)
    return by_policy(subjects) if prepared.request.ablate else subjects


def _measure(session: Session, subjects: dict[str, Subject], prepared: _Prepared, progress: Progress) -> None:
    def say(text: str) -> None:
        progress(Note(text))

    request = prepared.request
    plan = make_plan(session.target, subjects, prepared.sweeps, request, say)
    jobs, done = plan.jobs, list[str]()
    if request.skip_existing:
        jobs, done = _left(session, plan, request, progress)
    blocks = None
    if request.resolve is not None:
        blocks = _added_blocks(session, plan, jobs, done, request)
        jobs = blocks.jobs
    progress(Measuring(jobs))
    with settled(session, request.energy_csv, lambda text: progress(Waiting(text))):
        running = session.run_all(
            jobs if blocks is None else blocks,
            plan.subjects,
            request.inputs,
            lambda part, total: progress(Working(part, total)),
            plan.energy,
        )
        for number, outcome in enumerate(running, 1):
            attempt = None if isinstance(outcome, Job) else outcome
            reached = None if blocks is None else blocks.ended(attempt)
            job = outcome if isinstance(outcome, Job) else outcome.job
            progress(Ended(job, attempt, number, len(jobs)))
            if reached is not None:
                say(reached)
    for subject, why_not in plan.refused:  # last: the first model that was measured is the baseline
        session.refuse(subject, why_not)
        progress(Failed(session.failed[-1]))


def _left(session: Session, plan: RunPlan, request: RunRequest, progress: Progress) -> tuple[list[Job], list[str]]:
    """The jobs that an earlier session has not, and the ids of those that it has, of added blocks too."""
    numbers = range(request.processes or 0, MOST_BLOCKS) if request.resolve is not None else ()
    added = [job for number in numbers for job in block_of(plan.latency, number)]
    left = resume(session, session.results, [*plan.jobs, *added])
    done = list({job.job_id for job in (*plan.jobs, *added)} - {job.job_id for job in left})
    of_added = {job.job_id for job in added}
    jobs = [job for job in left if job.job_id not in of_added]
    more = len(of_added & set(done))
    progress(
        Note(
            f"session {session.session_id}: {len(plan.jobs) - len(jobs)} of {len(plan.jobs)} jobs are there"
            + (f", and {more} of added blocks" if more else "")
        )
    )
    return jobs, done


def _added_blocks(
    session: Session, plan: RunPlan, jobs: list[Job], done: list[str], request: RunRequest
) -> AddedBlocks:
    """The jobs of a run that adds blocks, and what an earlier part of its session measured."""
    from harness.experiment.added_blocks import AddedBlocks  # pandas takes a second to import
    from harness.store.dataset import read_sessions

    assert request.resolve is not None
    assert request.processes is not None
    return AddedBlocks(
        jobs,
        plan.latency,
        request.processes,
        request.resolve,
        request.max_time_s,
        done,
        read_sessions(session.results, [session.session_id]) if done else None,
    )


@contextmanager
def _interruptible(session: Session, results: Path) -> Iterator[None]:
    """Says within the block where the rows are, if there are some, when the user stops it."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stored = session.succeeded or session.failed or session.interrupted
        where = f"What had ended is in {results}: `harness report --session {session.session_id}`."
        raise Interrupted("interrupted.", where if stored else "") from stopped


def _failure(attempt: Attempt) -> Failure:
    error = attempt.error
    assert error is not None
    return Failure(attempt.job.model, attempt.job.measure, error.message, error.hint)
