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
    others = [one for one in row.versus if one is not None and one.value is not None] if row is not None else []
    if row is None or not others:
        return None
    largest = max(others, key=lambda one: float("inf") if one.shows is None else one.shows)
    asked = min((asked for run in runs if (asked := asked_resolution(run)) is not None), default=None)
    found = Resolution(row.metric.name, row.metric.label, largest.shows, largest.processes, largest.paired, asked)
    if found.reached is not False:
        return found
    interrupted = any(run["status"] == "interrupted" for run in runs)
    most = f"{MOST_BLOCKS} processes per model are the most"
    ended = (
        "it was interrupted"
        if interrupted
        else most
        if found.processes >= MOST_BLOCKS
        else "time was over, or it was cut short"
    )
    return Resolution(found.metric, found.label, found.shows, found.processes, found.paired, asked, ended)


def foot(found: Resolution | None) -> list[str]:
    """What a reader should know of it: what would not show, and how a number of blocks came about."""
    if found is None:
        return []
    notes = []
    if found.shows:  # none of figures that never differ
        how = "paired by block" if found.paired else "not paired"
        notes.append(
            f"Differences below about {percent(found.shows)} would not show ({found.label}; "
            f"{percent(found.confidence)} interval, {plural(found.processes, 'process')}, {how})."
        )
    if found.asked is not None and found.ended is None:
        with_so_many = plural(found.processes, "process")
        notes.append(
            f"Asked to resolve {percent(found.asked)}: reached with {with_so_many}; intervals allow for a look after "
            "every block."
        )
    elif found.asked is not None:
        reached = "there is no interval yet" if found.shows is None else f"reached {percent(found.shows)}"
        notes.append(f"Asked to resolve {percent(found.asked)}, {reached}: {found.ended}.")
    return notes
