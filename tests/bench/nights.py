"""Scores the detectors of changed nights: steps injected into real noise, found again, by every detector side by side.

The noise is of nights on which nothing changed: medians of sessions of one and the same file (`--record` makes them),
or any CSV with the columns series, night, value. Prints a table; asserts nothing.

    python tests/bench/nights.py --record nights.csv --nights 40     # an hour or a night of the machine's own noise
    python tests/bench/nights.py nights.csv more.csv
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
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


def table(series: Sequence[Floats], places: int) -> pd.DataFrame:
    """A row a detector and a step."""
    nights = sum(map(len, series))
    rows = []
    for name, detector in DETECTORS.items():
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
                    "false alarms / 100 nights": round(100 * offline / nights, 3),
                    "live": round(100 * online / nights, 3),
                }
            )
    return pd.DataFrame(rows)


def record(file: Path, nights: int, model: str) -> None:
    """So many sessions of one file, one after another: each median of a process and metric is a series' night."""
    import pyarrow.dataset as ds

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness", "run", "-t", "x86", "-m", model, "--results", folder, "--no-memory"]
        quick = ["--processes", "5", "--min-duration", "0.2", "--max-warmup", "1", "--no-quality"]
        for night in range(nights):
            subprocess.run([*command, *quick], check=True, capture_output=True)
            click.echo(f"night {night + 1} of {nights}", err=True)
        runs = ds.dataset(Path(folder) / "runs", partitioning="hive").to_table().to_pandas()
        samples = ds.dataset(Path(folder) / "samples", partitioning="hive").to_table().to_pandas()
    order = {name: n for n, name in enumerate(runs.sort_values("started_at")["session_id"].unique())}
    samples["night"] = samples["attempt_id"].map(runs.set_index("attempt_id")["session_id"]).map(order)
    samples = samples[~samples["phase"].isin(["warmup", "first"])]
    medians = samples.groupby(["phase", "night", "attempt_id"])["duration_ns"].median()
    value = medians.groupby(["phase", "night"]).median().rename("value").reset_index()
    value["series"] = f"{Path(model).stem} " + value["phase"]
    value[["series", "night", "value"]].to_csv(file, index=False)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--record", "recorded", type=click.Path(path_type=Path), help="Record nights of noise into this CSV.")
@click.option("--nights", default=40, show_default=True, help="How many to record.")
@click.option("--model", default="baseline-small", show_default=True, help="What to record.")
@click.option("--places", default=5, show_default=True, help="Steps injected into a series, of each size.")
def main(files: tuple[Path, ...], recorded: Path | None, nights: int, model: str, places: int) -> None:
    """Score every detector on FILES, or on the nights that came with harness."""
    if recorded is not None:
        record(recorded, nights, model)
        files = (recorded,)
    frame = pd.concat([pd.read_csv(file) for file in files or (_SHIPPED,)])
    series = [group.sort_values("night")["value"].to_numpy(np.float64) for _, group in frame.groupby("series")]
    series = [values for values in series if len(values) >= 15]
    click.echo(f"{len(series)} series, {sum(map(len, series))} nights\n")
    click.echo(table(series, places).to_string(index=False))


if __name__ == "__main__":
    main()
