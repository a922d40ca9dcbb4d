"""`harness run --dry-run`: what would be run, for how long, and what difference it could show, going by the noise of
earlier sessions. Nothing is measured, nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pathlib import Path

    from harness.cli._noise import Noise
    from harness.cli._run_jobs import Plan
    from harness.conditions.fields import Condition
    from harness.job import Job
    from harness.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])


def dry_run_option(command: Command) -> Command:
    """What `run` takes to say what it would do."""
    return click.option(
        "--dry-run",
        is_flag=True,
        help="Say what would be run, about how long it takes, and what difference it could show, going by the noise of "
        "earlier sessions; measure and store nothing.",
    )(command)


@dataclass(frozen=True)
class Expected:
    """Of one condition: `processes` of each model, the first of which is the baseline; `shows`, the smallest difference
    that would show of the worst model, and how many blocks would resolve what was `asked`; with the `reason` where that
    is not known.
    """

    condition: Condition
    models: tuple[str, ...]
    processes: int
    shows: float | None
    earlier_processes: int
    asked: float | None
    blocks: int | None
    reason: str | None


def say(planned: Plan, target: Target, results: Path, processes: int, asked: float | None, *, as_json: bool) -> str:
    """The plan of a run as text or JSON, with what the sessions in `results` tell of it."""
    from harness.cli._noise import read_noise
    from harness.errors import NothingComparable
    from harness.report.machine import dump_json

    conditions = _conditions(planned.latency, target)
    try:
        noise = read_noise(results, target.name, target.device(), list(planned.subjects))
    except NothingComparable:
        noise = None
    expected = [_expect(condition, jobs, noise, processes, asked) for condition, jobs in conditions.values()]
    passes: dict[str, list[Job]] = {}
    for job in planned.jobs:
        passes.setdefault(job.measure, []).append(job)
    measured_s = sum(job.min_duration_s for job in planned.jobs if job.measure in ("latency", "energy"))
    usual_s = None if noise is None else noise.lasts_s(planned.jobs)
    if as_json:
        return dump_json(
            "plan",
            {
                "target": target.name,
                "device": target.device(),
                "passes": [
                    {"measure": measure, "processes": len(jobs), "models": list(dict.fromkeys(j.model for j in jobs))}
                    for measure, jobs in passes.items()
                ],
                "conditions": [asdict(one) for one in expected],
                "measuring_s_at_least": measured_s,
                "estimated_s": usual_s,
            },
        )
    lines = [f"{target.name} · {target.device()}: nothing is measured, this is what would be run."]
    lines += _condition_lines(expected)
    counted = ", ".join(f"{len(jobs)} for {measure}" for measure, jobs in passes.items())
    lines.append(f"Processes, one after the other: {counted}.")
    lines.append(_lasts(measured_s, usual_s) + ("" if asked is None else " Blocks that are added come on top."))
    return "\n".join(lines) + "\n"


def _conditions(latency: Sequence[Job], target: Target) -> dict[str, tuple[Condition, list[Job]]]:
    """The latency jobs of one block by condition, as they will stand in tables."""
    from harness.analysis.grouping import options_of
    from harness.conditions.fields import planned_condition
    from harness.store.stored_job import stored

    found: dict[str, tuple[Condition, list[Job]]] = {}
    for job in latency:
        condition = planned_condition(job, target.device())
        found.setdefault(options_of(stored(job)), (condition, []))[1].append(job)
    return found


def _expect(
    condition: Condition, jobs: Sequence[Job], noise: Noise | None, processes: int, asked: float | None
) -> Expected:
    from harness.statistics.looks import CONFIDENCE_OF_A_LOOK, FEWEST_BLOCKS, MOST_BLOCKS
    from harness.statistics.ratio import RATIO_CONFIDENCE, smallest_shown
    from harness.statistics.summary import FEWEST_PROCESSES

    models = tuple(job.model for job in jobs)

    def unknown(reason: str) -> Expected:
        return Expected(condition, models, processes, None, 0, asked, None, reason)

    if len(models) < 2:
        return unknown("there is no second model to set it against")
    if processes < FEWEST_PROCESSES:
        return unknown(f"an interval takes {FEWEST_PROCESSES} processes: `--processes 5`")
    spreads = [] if noise is None else [noise.between(jobs[0], job) for job in jobs[1:]]
    known = [spread for spread in spreads if spread is not None]
    if not known or len(known) < len(spreads):
        return unknown("these models were not measured so on this device before; a first run tells")
    worst = max(known, key=lambda spread: spread.deviation)
    confidence = RATIO_CONFIDENCE if asked is None else CONFIDENCE_OF_A_LOOK[RATIO_CONFIDENCE]

    def shown(blocks: int) -> float:
        return smallest_shown(worst.deviation / blocks**0.5, blocks - 1, confidence)

    enough = (
        n for n in range(max(FEWEST_BLOCKS, processes), MOST_BLOCKS + 1) if asked is not None and shown(n) <= asked
    )
    return Expected(condition, models, processes, shown(processes), worst.processes, asked, next(enough, None), None)


def _condition_lines(expected: Sequence[Expected]) -> list[str]:
    from harness.analysis.figures import plural
    from harness.analysis.numbers import percent
    from harness.conditions.fields import tell_apart
    from harness.statistics.looks import MOST_BLOCKS

    lines = []
    for one, words in zip(expected, tell_apart([each.condition for each in expected]), strict=True):
        first, *others = one.models
        against = f"{first}{' (baseline)' if others else ''}" + "".join(f", {name}" for name in others)
        order = "interleaved " if others and one.processes > 1 else ""
        lines.append(
            f"{', '.join((one.condition.scenario, *words))}: {against}; "
            f"{plural(one.processes, order + 'process')}{' per model' if others else ''} for latency"
        )
        if one.shows is None:
            lines.append(f"  What difference would show is not known: {one.reason}.")
            continue
        lines.append(
            f"  Differences below about {percent(one.shows)} would not show, going by "
            f"{plural(one.earlier_processes, 'earlier process')} of these models (99 % interval)."
        )
        if one.asked is not None:
            needed = f"about {one.blocks}" if one.blocks is not None else f"more than {MOST_BLOCKS}"
            most = "" if one.blocks is not None else f", and {MOST_BLOCKS} are the most"
            lines.append(f"  To resolve {percent(one.asked)}, {needed} processes a model are needed{most}.")
    return lines


def _lasts(measured_s: float, usual_s: float | None) -> str:
    if usual_s is not None:
        return f"Estimated time: {_time(usual_s)}, as long as such processes took before."
    return (
        f"Estimated time: {_time(measured_s)} of measuring at least, by --min-duration; starting, warming up and other "
        "passes come on top."
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
