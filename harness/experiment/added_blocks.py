"""Blocks of latency processes that are added until a difference of the asked size would show, or the time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.analysis.comparison import resolutions
from harness.analysis.numbers import percent
from harness.analysis.resolution import Resolution
from harness.experiment.plan import block_of
from harness.experiment.runner import Attempt
from harness.job import Job
from harness.metrics import HEADLINES
from harness.statistics import looks
from harness.store.dataset import Tables
from harness.store.schemas import SAMPLES, SCALARS


class AddedBlocks:
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

    def ended(self, attempt: Attempt | None) -> str | None:
        """The next job has ended, or was skipped (None). After the last of a block the next one is added, if need be;
        a sentence then says what is reached.
        """
        self._ended += 1
        if attempt is not None and attempt.job.measure == "latency":
            frames = {name: attempt.tables[name].to_pandas() for name in ("runs", "samples", "scalars")}
            frames["runs"]["target"] = attempt.job.target
            self._add(Tables(**frames))
        elif attempt is not None:  # of the passes before: the time of a block begins after them
            self._begun_s = time.monotonic()
        if self._ended != self._end:
            return None
        timed = {job.block for job in self.jobs[: self._end] if job.measure == "latency"}
        self._block_s = (time.monotonic() - self._begun_s) / (1 if self._processes else max(1, len(timed)))
        sentence = self._grow()
        self._begun_s = time.monotonic()
        return sentence

    def _add(self, tables: Tables) -> None:
        """Samples are made to one value a process at once: there may be millions."""
        self._runs.append(tables.runs[tables.runs["measure"] == "latency"])
        for metric in self._metrics:
            self._values[metric.name] |= {str(name): value for name, value in metric.per_process(tables).items()}

    def _grow(self) -> str | None:
        """Put the jobs of the next block into their place, none if all is resolved or time is over."""
        left, worst = self._unresolved()
        if worst is None:
            return None
        if self._until_s is not None and time.monotonic() + self._block_s > self._until_s:
            return f"{self._reached(worst)}: --max-time is over"
        more: list[Job] = []
        while not more and self._next < looks.MOST_BLOCKS:
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
        runs = [frame for frame in self._runs if len(frame)]
        if not runs:
            return set(), None
        empty = (schema.empty_table().to_pandas() for schema in (SAMPLES, SCALARS))
        metrics = [
            replace(metric, per_process=_given(self._values[metric.name]), too_few=None) for metric in self._metrics
        ]
        left: set[str] = set()
        worst: Resolution | None = None
        for resolution, members in resolutions(Tables(pd.concat(runs, ignore_index=True), *empty), metrics):
            if resolution is None or resolution.reached:
                continue
            series = {str(run["series_id"]) for run in members}
            name = min(series)
            if resolution.processes <= self._processes.get(name, 0):  # a model fails in every block
                continue
            self._processes[name] = resolution.processes
            left |= series
            if worst is None or _shown(resolution) > _shown(worst):
                worst = resolution
        return left, worst

    def _reached(self, resolution: Resolution) -> str:
        shown = "there is no interval yet" if resolution.shows is None else f"{percent(resolution.shows)} would show"
        return f"after {resolution.processes} blocks {shown}, {percent(self._asked)} asked"

    def _needed(self, resolution: Resolution) -> str:
        """By the rule that an interval is half as wide with four times the blocks."""
        if resolution.shows is None:
            return "one more"
        ratio = math.log1p(resolution.shows) / math.log1p(self._asked)
        more = max(1, math.ceil(resolution.processes * (ratio**2 - 1)))
        if resolution.processes + more > looks.MOST_BLOCKS:
            return f"it would take more than {looks.MOST_BLOCKS}, which are the most"
        left_s = more * self._block_s
        left = f", about {left_s / 60:.0f} min" if left_s > 90 else f", about {left_s:.0f} s" if left_s else ""
        return f"about {more} more{left}"


def _shown(resolution: Resolution) -> float:
    return math.inf if resolution.shows is None else resolution.shows


def _given(values: dict[str, float]) -> Callable[[Tables], pd.Series[float]]:
    """A metric's values that are known already, whatever the tables."""
    return lambda _: pd.Series(values, dtype="float64")
