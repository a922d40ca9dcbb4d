"""The energy pass of a run: where joules come from, which jobs ask for them, and a meter's file at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.durations import in_words
from harness.energy.external import read_csv
from harness.energy.meter import Meter, energies, unmeasured
from harness.energy.series import Series
from harness.energy.source import Missing, NoEnergy, Source
from harness.errors import HarnessError, UsageError
from harness.experiment.model_source import Say
from harness.experiment.plan import interleave
from harness.experiment.runner import Attempt
from harness.experiment.session import Session
from harness.job import Job
from harness.protocol import Scalar
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Powered, Target

# Ten seconds average much that a latency does not: three processes show what is left.
PROCESSES = 3
# How long a recording is waited for: somebody stops a meter by hand, and exports its file.
_WAIT_S = 600.0
_POLL_S = 1.0
_SAY_EVERY_S = 60.0
# A window of a meter's file has this many of its readings, half as many again as are needed, and lasts no longer.
_READINGS = 30
_LONGEST_S = 300.0


def energy_pass(
    target: Target, file: Path | None, latency: Sequence[Job], processes: int, say: Say
) -> tuple[Source | Missing, list[Job]]:
    """Where energy comes from (`file`: the recording of a meter, which may still be to come) or why from nowhere, and
    the jobs that ask for it. Raises UsageError for a recording that cannot be one.
    """
    source = _source(target) if file is None else _recorded(target, file)
    jobs = [
        replace(
            job,
            measure="energy",
            min_duration_s=max(job.min_duration_s, source.window_s),
            max_duration_s=max(job.max_duration_s, source.window_s),
        )
        for job in latency
        if isinstance(source, Source) and SCENARIOS[job.scenario].repeats and not _searches(job)
    ]
    if isinstance(source, Source) and not jobs:
        source = Missing(
            f"{latency[0].scenario} has no window of steady work to meter", "Use another --scenario, or a --rate."
        )
    if jobs and file is not None and not os.path.exists(file):
        say(f"{file} is not there yet: when all has ended it is waited for, {in_words(_WAIT_S)} at most")
    if isinstance(source, Missing):
        say(f"energy is not measured: {source.reason}. {source.todo}")
    return source, interleave(jobs, min(processes, PROCESSES))


@contextmanager
def settled(session: Session, file: Path | None, say: Say) -> Iterator[None]:
    """At the end of the block, wait until `file` reaches over all that was metered, and store it with its energy: with
    the reason where it does not come, or the block was left early, or somebody interrupts.
    """
    wait_s = 0.0
    try:
        yield
        wait_s = _WAIT_S
    finally:
        if session.held and file is not None:
            recording = _recording(session, file, wait_s, say)

            def scalars(attempt: Attempt, meter: Meter) -> list[Scalar]:
                try:
                    if isinstance(recording, NoEnergy):
                        raise recording
                    return [*energies({"": recording}, meter.windows(attempt.measurement, wall=True), attempt.job)]
                except NoEnergy as error:
                    return unmeasured(attempt.job, str(error))

            session.release(scalars)


def describe(target: Target) -> dict[str, str | None]:
    """Where a target would get energy here: `source` and `tier`, else `reason` and `todo`."""
    source = _source(target)
    if isinstance(source, Missing):
        return {"source": None, "tier": None, "reason": source.reason, "todo": source.todo or None}
    return {"source": source.name, "tier": source.tier, "reason": None, "todo": None}


def _source(target: Target) -> Source | Missing:
    if not isinstance(target, Powered):
        return Missing(f"target {target.name} has no source of energy", "Leave out --energy.")
    try:
        return target.energy()
    except HarnessError as error:
        return Missing(error.message.rstrip("."), error.hint)


def _recorded(target: Target, file: Path) -> Source:
    """The recording of a meter. What there is of it already is looked at now, not when minutes were measured, and says
    how long a window must be.
    """
    known = Source(name=f"external meter, {file.name}", tier="external")
    if target.capabilities.latency != "measured":
        raise UsageError(f"Target {target.name} does not run here, so no meter can see it.", "Leave out --energy-csv.")
    if os.path.exists(file) and file.stat().st_size:
        try:
            at_s = read_csv(file).at_s
        except NoEnergy as error:
            raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.", "Mend --energy-csv.") from error
        if len(at_s) > 1:
            lasts_s = _READINGS * float(np.median(np.diff(at_s)))
            known = replace(known, window_s=max(known.window_s, min(lasts_s, _LONGEST_S)))
    elif not os.path.isdir(file.absolute().parent):
        raise UsageError(f"There is no folder {file.absolute().parent}.", "Say where the recording will be.")
    return known


def _searches(job: Job) -> bool:
    """Whether its rate of queries changes while it runs."""
    return job.latency_bound_ns is not None and job.rate_queries_per_s is None


def _recording(session: Session, file: Path, wait_s: float, say: Say) -> Series | NoEnergy:
    """The recording once it reaches over everything, or as it is after `wait_s` seconds, or why it cannot be used."""
    last_s, until = 0.0, time.monotonic() + wait_s
    for attempt, meter in session.held:
        try:
            last_s = max(last_s, meter.windows(attempt.measurement, wall=True).timed[1])
        except NoEnergy:
            continue
    say_again_s = time.monotonic()
    while True:
        recording: Series | NoEnergy
        try:
            recording = read_csv(file)
        except NoEnergy as error:
            recording = error
        complete = isinstance(recording, Series) and recording.at_s.size and recording.at_s[-1] >= last_s
        if complete or time.monotonic() >= until:
            return recording
        if time.monotonic() >= say_again_s:
            moment = time.strftime("%H:%M:%S", time.gmtime(last_s + 1))
            left = in_words(until - time.monotonic())
            say(f"waiting for {file} to reach {moment} UTC, {left} at most (Ctrl-C: no longer)")
            say_again_s += _SAY_EVERY_S
        try:
            time.sleep(_POLL_S)
        except KeyboardInterrupt:
            return recording
