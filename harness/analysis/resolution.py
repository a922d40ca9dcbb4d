"""What difference a comparison could have shown: the foot of its table, and what `harness run --resolve` goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.figures import plural
from harness.analysis.grouping import Run, asked_resolution
from harness.analysis.numbers import percent
from harness.analysis.rows import Row
from harness.metrics import HEADLINES
from harness.statistics.looks import MOST_BLOCKS
from harness.statistics.ratio import POWER, RATIO_CONFIDENCE


@dataclass(frozen=True)
class Resolution:
    """Of the main time of a table, by its `metric` and `label`: `shows` is the smallest true difference, 0.08 for 8 %,
    that an interval of `confidence` shows with the `power`, from as many processes with the spread that these have; of
    the model of which it is largest, whose `processes` they are. None where a model has no interval.

    `asked` is the difference for which blocks were added, None where their number was fixed; `ended` says what ended it
    before that was reached.
    """

    metric: str
    label: str
    shows: float | None
    processes: int
    paired: bool
    asked: float | None = None
    ended: str | None = None
    confidence: float = RATIO_CONFIDENCE
    power: float = POWER

    @property
    def reached(self) -> bool | None:
        """Whether what was asked for shows; None where nothing was."""
        return None if self.asked is None else self.shows is not None and self.shows <= self.asked


def resolution_of(rows: Sequence[Row], runs: Sequence[Run]) -> Resolution | None:
    """What the main time of `rows` resolves; None where no model is set against the baseline by it. `runs` are all runs
    of the comparison.
    """
    by_name = {row.metric.name: row for row in rows}
    row = next((by_name[metric.name] for metric in HEADLINES if metric.is_time and metric.name in by_name), None)
    others = (
        [versus for versus in row.versus if versus is not None and versus.value is not None] if row is not None else []
    )
    if row is None or not others:
        return None
    largest = max(others, key=lambda versus: float("inf") if versus.shows is None else versus.shows)
    asked = min((asked for run in runs if (asked := asked_resolution(run)) is not None), default=None)
    resolution = Resolution(row.metric.name, row.metric.label, largest.shows, largest.processes, largest.paired, asked)
    if resolution.reached is not False:
        return resolution
    interrupted = any(run["status"] == "interrupted" for run in runs)
    most = f"{MOST_BLOCKS} processes per model are the most"
    ended = (
        "it was interrupted"
        if interrupted
        else most
        if resolution.processes >= MOST_BLOCKS
        else "time was over, or it was cut short"
    )
    return Resolution(
        resolution.metric, resolution.label, resolution.shows, resolution.processes, resolution.paired, asked, ended
    )


def foot(resolution: Resolution | None) -> list[str]:
    """What a reader should know of it: what would not show, and how a number of blocks came about."""
    if resolution is None:
        return []
    notes = []
    if resolution.shows:  # none of figures that never differ
        how = "paired by block" if resolution.paired else "not paired"
        notes.append(
            f"Differences below about {percent(resolution.shows)} would not show ({resolution.label}; "
            f"{percent(resolution.confidence)} interval, {plural(resolution.processes, 'process')}, {how})."
        )
    if resolution.asked is not None and resolution.ended is None:
        processes = plural(resolution.processes, "process")
        notes.append(
            f"Asked to resolve {percent(resolution.asked)}: reached with {processes}; intervals allow for a look after "
            "every block."
        )
    elif resolution.asked is not None:
        reached = "there is no interval yet" if resolution.shows is None else f"reached {percent(resolution.shows)}"
        notes.append(f"Asked to resolve {percent(resolution.asked)}, {reached}: {resolution.ended}.")
    return notes
