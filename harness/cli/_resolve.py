"""`harness run --resolve`: blocks are added until a difference of that size would show, or the time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.resolution import Resolution
    from harness.experiment.runner import Attempt
    from harness.job import Job
    from harness.store.dataset import Tables
    from harness.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])


def _percent(ctx: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """`5%`, `5 %` or `5` as 0.05."""
    if value is None:
        return None
    try:
        share = float(value.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0.001 <= share <= 1:
        raise click.BadParameter("Write a difference between 0.1% and 100%, such as 5%.", ctx, option)
    return share


def resolve_options(command: Command) -> Command:
    """What `run` takes to decide itself how many processes are enough."""
    for option in (
        click.option(
            "--max-time",
            metavar="TIME",
            help="With --resolve: add no block that would end later than so long after measuring began, such as 10m.",
        ),
        click.option(
            "--resolve",
            callback=_percent,
            metavar="PERCENT",
            help="Add interleaved blocks of latency processes after the first --processes until differences of so many "
            "percent, such as 5%, would show: until a true one of that size would be found in four of five such runs, "
            "in the main time of the table, for every model. Intervals allow for the looks.",
        ),
    ):
        command = option(command)
    return command


def check_resolve(options: dict[str, Any], target: Target, models: Sequence[str], processes: int | None) -> None:
    """Raises UsageError where there is nothing to resolve, or no block can be added."""
    from harness.errors import UsageError
    from harness.experiment.arrivals import parse_seconds
    from harness.scenarios.catalogue import SCENARIOS
    from harness.statistics.looks import FEWEST_BLOCKS

    if options["max_time"] is not None:
        parse_seconds(options["max_time"])
    if options["resolve"] is None:
        if options["max_time"] is not None:
            raise UsageError("--max-time ends the adding of blocks.", "Add --resolve 5%, or leave it out.")
        return
    out = "Leave out --resolve."
    if target.capabilities.latency in (None, "estimated"):
        raise UsageError(
            f"What target {target.name} counts or estimates does not vary, so one process resolves all.", out
        )
    if options["scenario"] is not None and SCENARIOS[options["scenario"]].on_end:
        raise UsageError("A sustained process runs its minutes on end, so there are no blocks to add.", out)
    if options["scenario"] == "server" and options["rate"] is None:
        raise UsageError(
            "Each model is measured at its own highest rate, so their latencies are not compared.",
            "Give all of them one --rate, or leave out --resolve.",
        )
    if options["ablate"]:
        raise UsageError("An ablation has a table of its own, which resolves no difference.", out)
    if len(models) * max(1, len(options["methods"])) < 2:
        raise UsageError("A difference is between two models, and there is one.", "Give a second --model.")
    if processes is not None and processes < FEWEST_BLOCKS:
        raise UsageError(
            f"The spread of {processes} processes says too little to stop by.",
            f"Give --processes {FEWEST_BLOCKS} or more, or leave it out.",
        )


class Blocks:
    """The jobs of a run in their order, `jobs`, to which blocks of latency processes are added until every condition
    resolves what was asked. Call `ended` with each outcome before the next job is taken.

    `latency` are the jobs of one block, `first` how many blocks `jobs` begins with. `done` are the ids of those that
    ended well in an earlier part of the session, and `stored` their rows.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        latency: Sequence[Job],
        first: int,
        asked: float,
        max_time_s: float | None = None,
        done: Sequence[str] = (),
        stored: Tables | None = None,
    ) -> None:
        from harness.metrics import HEADLINES

        self.jobs = list(jobs)
        self._latency, self._next, self._asked, self._done = latency, first, asked, set(done)
        self._until_s = None if max_time_s is None else time.monotonic() + max_time_s
        self._metrics = [metric for metric in HEADLINES if metric.is_time]
        self._values: dict[str, dict[str, float]] = {metric.name: {} for metric in self._metrics}
        self._runs: list[Any] = []
        # Blocks come after the first ones, before the passes that follow them.
        first_passes = [job.measure in ("memory", "latency") for job in self.jobs]
        self._ended, self._end = 0, first_passes.index(False) if False in first_passes else len(first_passes)
        self._begun_s, self._block_s = time.monotonic(), 0.0
        self._processes: dict[str, int] = {}
        if stored is not None:
            self._add(stored)
        if self._end == 0:
            self._grow()

    def __iter__(self) -> Iterator[Job]:
        """Each job when its turn has come, those that were added meanwhile too."""
        at = 0
        while at < len(self.jobs):
            yield self.jobs[at]
            at += 1

    def ended(self, outcome: Attempt | Job) -> str | None:
        """A job has ended, or was skipped. After the last of a block the next one is added, if need be, and what is
        reached is told.
        """
        from harness.job import Job
        from harness.store.dataset import Tables

        self._ended += 1
        if not isinstance(outcome, Job) and outcome.job.measure == "latency":
            frames = {name: outcome.tables[name].to_pandas() for name in ("runs", "samples", "scalars")}
            frames["runs"]["target"] = outcome.job.target
            self._add(Tables(**frames))
        elif not isinstance(outcome, Job):  # of the passes before: the time of a block begins after them
            self._begun_s = time.monotonic()
        if self._ended != self._end:
            return None
        timed = {job.block for job in self.jobs[: self._end] if job.measure == "latency"}
        self._block_s = (time.monotonic() - self._begun_s) / (1 if self._processes else max(1, len(timed)))
        told = self._grow()
        self._begun_s = time.monotonic()
        return told

    def _add(self, tables: Tables) -> None:
        """Samples are made to one value a process at once: there may be millions."""
        self._runs.append(tables.runs[tables.runs["measure"] == "latency"])
        for metric in self._metrics:
            self._values[metric.name] |= {str(name): value for name, value in metric.per_process(tables).items()}

    def _grow(self) -> str | None:
        """Put the jobs of the next block into their place, none if all is resolved or time is over."""
        from harness.experiment.plan import block_of
        from harness.statistics.looks import MOST_BLOCKS

        left, worst = self._unresolved()
        if worst is None:
            return None
        if self._until_s is not None and time.monotonic() + self._block_s > self._until_s:
            return f"{self._reached(worst)}: --max-time is over"
        more: list[Job] = []
        while not more and self._next < MOST_BLOCKS:
            block = block_of(self._latency, self._next)
            more = [job for job in block if job.series_id in left and job.job_id not in self._done]
            self._next += 1
        self.jobs[self._end : self._end] = more
        self._end += len(more)
        return f"{self._reached(worst)}: {self._needed(worst) if more else 'no more blocks than these are added'}"

    def _unresolved(self) -> tuple[set[str], Resolution | None]:
        """The series of the conditions that do not resolve yet what was asked, and might with another block; and the
        one of them that is farthest from it.
        """
        from dataclasses import replace

        import pandas as pd

        from harness.analysis.comparison import resolutions
        from harness.store.dataset import Tables
        from harness.store.schemas import SAMPLES, SCALARS

        runs = [frame for frame in self._runs if len(frame)]
        if not runs:
            return set(), None
        empty = (schema.empty_table().to_pandas() for schema in (SAMPLES, SCALARS))
        metrics = [
            replace(metric, per_process=_given(self._values[metric.name]), too_few=None) for metric in self._metrics
        ]
        left: set[str] = set()
        worst: Resolution | None = None
        for found, members in resolutions(Tables(pd.concat(runs, ignore_index=True), *empty), metrics):
            if found is None or found.reached:
                continue
            series = {str(run["series_id"]) for run in members}
            name = min(series)
            if found.processes <= self._processes.get(name, 0):  # a model fails in every block
                continue
            self._processes[name] = found.processes
            left |= series
            if worst is None or _shown(found) > _shown(worst):
                worst = found
        return left, worst

    def _reached(self, found: Resolution) -> str:
        from harness.analysis.numbers import percent

        shown = "there is no interval yet" if found.shows is None else f"{percent(found.shows)} would show"
        return f"after {found.processes} blocks {shown}, {percent(self._asked)} asked"

    def _needed(self, found: Resolution) -> str:
        """By the rule that an interval is half as wide with four times the blocks."""
        from harness.statistics.looks import MOST_BLOCKS

        if found.shows is None:
            return "one more"
        ratio = math.log1p(found.shows) / math.log1p(self._asked)
        more = max(1, math.ceil(found.processes * (ratio**2 - 1)))
        if found.processes + more > MOST_BLOCKS:
            return f"it would take more than {MOST_BLOCKS}, which are the most"
        left_s = more * self._block_s
        left = f", about {left_s / 60:.0f} min" if left_s > 90 else f", about {left_s:.0f} s" if left_s else ""
        return f"about {more} more{left}"


def _shown(found: Resolution) -> float:
    return math.inf if found.shows is None else found.shows


def _given(values: dict[str, float]) -> Callable[[Tables], pd.Series[float]]:
    """A metric's values that are known already, whatever the tables."""
    import pandas as pd

    return lambda _: pd.Series(values, dtype="float64")
