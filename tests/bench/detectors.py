"""Scores the detectors of changed nights: steps injected into real noise, found again, by every detector side by side.

The noise is of nights on which nothing changed, as `python tests/bench/nights.py --record` makes them, or of any CSV
with the columns series, night, value. Where the CSV also has a row a process (block) and the second name's value in
`again`, the second is what a night's reference is, and every night is scored with it and without. Prints tables;
asserts nothing. What becomes of a change afterwards is scored by `python tests/bench/nights.py`.

    python tests/bench/detectors.py
    python tests/bench/detectors.py nights.csv more.csv
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.statistics.change_points import change_points
from harness.statistics.control_charts import cusum, threshold

Floats = npt.NDArray[np.float64]
Detector = Callable[[Floats], Sequence[int]]

DETECTORS: Mapping[str, Detector] = {
    "E-divisive": lambda values: [point.index for point in change_points(values)],
    "night before, > 10 %": threshold,
    "CUSUM": cusum,
}
STEPS = (0.02, 0.05, 0.10, 0.20)
# How many nights a detector may be off and still mean that change.
_NEAR = 2
_SHIPPED = Path(__file__).with_name("nights.csv")
_ORDERS = 100


@dataclass(frozen=True)
class Score:
    """Of one detector and one size of step, over all series, both directions and `places` of each."""

    found: int
    missed: int
    false: int

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.false)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)

    @property
    def f1(self) -> float:
        return 2 * self.found / max(1, 2 * self.found + self.false + self.missed)


def score(detector: Detector, series: Sequence[Floats], step: float, places: int) -> Score:
    """Each alarm near the step finds it, once; every other one is false."""
    found = missed = false = 0
    for values, at in injected(series, step, places):
        alarms = list(detector(values))
        near = [alarm for alarm in alarms if abs(alarm - at) <= _NEAR]
        found, missed, false = found + bool(near), missed + (not near), false + len(alarms) - bool(near)
    return Score(found, missed, false)


def injected(series: Sequence[Floats], step: float, places: int) -> Iterator[tuple[Floats, int]]:
    """The series with one step each, up and down, at so many places that are not too near an end to be seen."""
    random = np.random.default_rng(0)
    for values in series:
        for _ in range(places):
            at = int(random.integers(5, len(values) - 4))
            for factor in (1 + step, 1 / (1 + step)):
                changed = values.copy()
                changed[at:] *= factor
                yield changed, at


def live(detector: Detector, values: Floats) -> Iterator[tuple[int, int]]:
    """Night by night, as a nightly job sees it: (night, the change it alarms of), each change once."""
    known: list[int] = []
    for night in range(len(values)):
        for alarm in detector(values[: night + 1]):
            if all(abs(alarm - other) > _NEAR for other in known):
                known.append(alarm)
                yield night, alarm


def delays(detector: Detector, series: Sequence[Floats], step: float) -> list[int]:
    """Nights from a step to the alarm of it, of those that were found."""
    found = []
    for values, at in injected(series, step, 1):
        nights = [night for night, alarm in live(detector, values) if abs(alarm - at) <= _NEAR]
        found += [nights[0] - at] if nights else []
    return found


def shuffled(series: Sequence[Floats]) -> list[Floats]:
    """Each series in many other orders. Nights without a change could have come in any: a few dozen of them alone say
    little of an alarm that is to be raised once in 2,000.
    """
    random = np.random.default_rng(0)
    return [random.permutation(values) for values in series for _ in range(_ORDERS)]


def table(series: Sequence[Floats], places: int) -> pd.DataFrame:
    """A row a detector and a step; false alarms are per 100 nights without a change."""
    nights, orders = sum(map(len, series)), shuffled(series)
    rows = []
    for name, detector in DETECTORS.items():
        reordered = sum(len(detector(values)) for values in orders)
        offline = sum(len(detector(values)) for values in series)
        online = sum(len(list(live(detector, values))) for values in series)
        for step in STEPS:
            got, waited = score(detector, series, step, places), delays(detector, series, step)
            rows.append(
                {
                    "detector": name,
                    "step": f"{step:.0%}",
                    "precision": round(got.precision, 3),
                    "recall": round(got.recall, 3),
                    "F1": round(got.f1, 3),
                    "median delay (nights)": np.median(waited) if waited else None,
                    "false / 100 nights, offline": round(100 * offline / nights, 3),
                    "shuffled": round(100 * reordered / (nights * _ORDERS), 3),
                    "live": round(100 * online / nights, 3),
                }
            )
    return pd.DataFrame(rows)


def figures_of(rows: pd.DataFrame, *, reference: bool) -> Floats:
    """One series of a CSV: a night's figure is the median of its processes, as in `harness nightly`, or of their ratios
    to the reference.
    """
    levels = rows["value"] / rows["again"] if reference else rows["value"]
    return levels.groupby(rows["night"]).median().to_numpy(np.float64)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--places", default=5, show_default=True, help="Steps injected into a series, of each size.")
def main(files: tuple[Path, ...], places: int) -> None:
    """Score every detector on FILES, or on the nights that came with harness."""
    frame = pd.concat([pd.read_csv(file).assign(file=str(file)) for file in files or (_SHIPPED,)])
    groups = [rows for _, rows in frame.groupby(["file", "series"]) if rows["night"].nunique() >= 15]
    if not groups:
        raise click.UsageError("No series of 15 nights or more: fewer say nothing of false alarms.")
    paired = [rows for rows in groups if "again" in rows and rows["again"].notna().all()]
    for title, reference, used in (("Without a reference", False, groups), ("With a reference", True, paired)):
        if not used:
            continue
        series = [figures_of(rows, reference=reference) for rows in used]
        spread = [np.log(values).std(ddof=1) for values in series]
        click.echo(
            f"{title}: {len(series)} series, {sum(map(len, series))} nights, which differ by "
            f"{min(spread):.1%} to {max(spread):.1%} (standard deviation)\n"
        )
        click.echo(table(series, places).to_string(index=False) + "\n")


if __name__ == "__main__":
    main()
