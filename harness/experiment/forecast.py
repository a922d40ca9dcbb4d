"""What a run would do: its jobs, about how long they take, and what difference they could show, going by the noise of
earlier sessions. Nothing is measured, nothing is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.grouping import options_of
from harness.conditions.fields import Condition, option_words, planned_condition
from harness.conditions.shared_options import by_options
from harness.errors import NothingComparable
from harness.experiment.earlier_noise import Noise, read_noise
from harness.experiment.run_plan import RunPlan
from harness.job import Job
from harness.statistics.looks import CONFIDENCE_OF_A_LOOK, FEWEST_BLOCKS, MOST_BLOCKS
from harness.statistics.ratio import RATIO_CONFIDENCE, smallest_shown
from harness.statistics.summary import FEWEST_PROCESSES
from harness.store.stored_job import stored
from harness.target import Target


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


@dataclass(frozen=True)
class Forecast:
    """`jobs` in their order, what is `expected` of each condition, seconds that are measured at least, seconds that a
    process takes to start and look at a model, and seconds that such jobs took before, None where some are new.
    """

    target: str
    device: str
    jobs: tuple[Job, ...]
    expected: tuple[Expected, ...]
    measuring_s_at_least: float
    starting_s: float
    estimated_s: float | None

    @property
    def by_pass(self) -> dict[str, list[Job]]:
        """The jobs of each pass."""
        passes: dict[str, list[Job]] = {}
        for job in self.jobs:
            passes.setdefault(job.measure, []).append(job)
        return passes


def forecast_of(
    plan: RunPlan, target: Target, results: Path, processes: int, asked: float | None, starting_s: float
) -> Forecast:
    """The forecast of a plan, with what the sessions in `results` tell of it. `starting_s` is what a process took to
    describe a model.
    """
    try:
        noise = read_noise(results, target.name, target.device(), list(plan.subjects))
    except NothingComparable:
        noise = None
    return Forecast(
        target=target.name,
        device=target.device(),
        jobs=tuple(plan.jobs),
        expected=tuple(
            _expect(condition, jobs, noise, processes, asked) for condition, jobs in _conditions(plan, target)
        ),
        measuring_s_at_least=sum(job.min_duration_s for job in plan.jobs if job.measure in ("latency", "energy")),
        starting_s=starting_s,
        estimated_s=None if noise is None else noise.lasts_s(plan.jobs),
    )


def _conditions(plan: RunPlan, target: Target) -> list[tuple[Condition, list[Job]]]:
    """The latency jobs of one block by condition, as they will stand in tables."""
    groups: dict[str, list[Job]] = {}
    for job in plan.latency:
        groups.setdefault(options_of(stored(job), of_runtime=False), []).append(job)
    conditions = []
    for jobs in groups.values():
        named = list(dict.fromkeys(name for job in jobs for name, _ in job.runtime_options or ()))
        for options, numbers in by_options([plan.options_of(job) for job in jobs], named):
            members = [jobs[number] for number in numbers]
            condition = planned_condition(members[0], target.device())
            conditions.append((replace(condition, runtime_options=option_words(options)), members))
    return conditions


def _expect(
    condition: Condition, jobs: Sequence[Job], noise: Noise | None, processes: int, asked: float | None
) -> Expected:
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
