"""Scores the detectors of changed nights: steps injected into real noise, found again, by every detector side by side.

The noise is of nights on which nothing changed: sessions of one file under two names, interleaved (`--record` makes
them), or any CSV with the columns series, night, value. Where the CSV also has a row a process (block) and the second
name's value in `again`, the second is what a night's reference is, and every night is scored with it and without. A
false alarm is then followed by a rerun, as `harness nightly` does (of the night after: what was not part of the alarm),
and only what that confirms is published. Prints tables; asserts nothing.

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

from harness.metrics import CATALOGUE
from harness.nightly.verdict import Verdict, confirmed
from harness.statistics.change_points import change_points
from harness.statistics.control_charts import cusum, threshold
from harness.statistics.ratio import paired_ratio

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
_LATENCY = next(metric for metric in CATALOGUE if metric.name == "steady_latency_ns_p50")
_MIN_CHANGE = 0.03
_PROCESSES = 16
_ORDERS = 100


@dataclass(frozen=True)
class Noise:
    """A series on which nothing changed: a figure a night, and what a rerun made after each night says of two files
    that are one; None where none was recorded.
    """

    values: Floats
    reruns: tuple[Verdict, ...] | None


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


def published(detector: Detector, noise: Noise) -> int | None:
    """Alarms, night by night, of a worse level that the rerun confirms; None without reruns.

    The rerun is the pair of the night after, which had no part in the alarm (of the last night: its own).
    """
    if noise.reruns is None:
        return None
    count = 0
    for night, at in live(detector, noise.values):
        worse = noise.values[at : night + 1].mean() > noise.values[:at].mean() if at else False
        rerun = noise.reruns[min(night + 1, len(noise.reruns) - 1)]
        count += bool(worse and confirmed(rerun, _LATENCY, _MIN_CHANGE))
    return count


def shuffled(series: Sequence[Floats]) -> list[Floats]:
    """Each series in many other orders. Nights without a change could have come in any: a few dozen of them alone say
    little of an alarm that is to be raised once in 2,000.
    """
    random = np.random.default_rng(0)
    return [random.permutation(values) for values in series for _ in range(_ORDERS)]


def table(noises: Sequence[Noise], places: int) -> pd.DataFrame:
    """A row a detector and a step; false alarms are per 100 nights without a change."""
    series = [noise.values for noise in noises]
    nights, orders = sum(map(len, series)), shuffled(series)
    rows = []
    for name, detector in DETECTORS.items():
        reordered = sum(len(detector(values)) for values in orders)
        offline = sum(len(detector(values)) for values in series)
        online = sum(len(list(live(detector, values))) for values in series)
        told = [(count, len(noise.values)) for noise in noises if (count := published(detector, noise)) is not None]
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
                    "published": round(100 * sum(n for n, _ in told) / sum(n for _, n in told), 3) if told else None,
                }
            )
    return pd.DataFrame(rows)


def noise_of(rows: pd.DataFrame, *, reference: bool) -> Noise:
    """One series of a CSV: a night's figure is the median of its processes, as in `harness nightly`, or of their ratios
    to the reference.
    """
    levels = rows["value"] / rows["again"] if reference else rows["value"]
    values = levels.groupby(rows["night"]).median().to_numpy(np.float64)
    if "again" not in rows or rows["again"].isna().any():
        return Noise(values, None)
    reruns = []
    for _, night in rows.groupby("night"):
        first, second = (dict(zip(night["block"], night[name], strict=True)) for name in ("value", "again"))
        ratio = paired_ratio(second, first)
        reruns.append(Verdict(ratio.value, ratio.low, ratio.high, ratio.pairs))
    return Noise(values, tuple(reruns))


def in_nights(results: Path, blocks: int) -> pd.DataFrame:
    """Sessions of one file under two names as rows of a CSV: so many blocks of a session are a night, in the order in
    which they were measured.
    """
    import pyarrow.dataset as ds

    runs, samples = (
        ds.dataset(results / name, partitioning="hive").to_table().to_pandas() for name in ("runs", "samples")
    )
    runs = runs[(runs["measure"] == "latency") & (runs["status"] == "ok")]
    order = {name: n for n, name in enumerate(runs.sort_values("started_at")["session_id"].unique())}
    per_session = runs["block"].max() // blocks + 1
    runs["night"] = runs["session_id"].map(order) * per_session + runs["block"] // blocks
    names = dict(zip(sorted(runs["model"].unique(), key=len), ("value", "again"), strict=True))
    samples = samples[~samples["phase"].isin(["warmup", "first"])]
    medians = samples.groupby(["attempt_id", "phase"])["duration_ns"].median().reset_index()
    rows = medians.merge(runs[["attempt_id", "model", "night", "block"]], on="attempt_id")
    wide = rows.pivot(index=["phase", "night", "block"], columns="model", values="duration_ns").rename(columns=names)
    wide = wide.dropna().reset_index()
    wide["series"] = min(names, key=len) + " " + wide["phase"]
    return wide[["series", "night", "block", "value", "again"]]


def record(file: Path, nights: int, model: str) -> None:
    """So many sessions of one file under two names, one after another, sixteen interleaved processes each.

    As the example of `harness nightly` has it: by the native worker, whose processes begin in milliseconds, on one
    processor. Where this was first recorded, processes that may migrate are in one of two states 40 % apart.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness", "run", "-t", "x86", "-m", model, "-m", model, "--results", folder]
        quick = ["--runtime", "native", "--cpus", "0", "--processes", str(_PROCESSES), "--min-duration", "0.1"]
        quick += ["--max-warmup", "0.2", "--no-quality", "--no-memory"]
        for night in range(nights):
            subprocess.run([*command, *quick], check=True, capture_output=True)
            in_nights(Path(folder), _PROCESSES).to_csv(file, index=False)  # what was recorded stays, if this is stopped
            click.echo(f"night {night + 1} of {nights}", err=True)


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
    frame = pd.concat([pd.read_csv(file).assign(file=str(file)) for file in files or (_SHIPPED,)])
    groups = [rows for _, rows in frame.groupby(["file", "series"]) if rows["night"].nunique() >= 15]
    if not groups:
        raise click.UsageError("No series of 15 nights or more: fewer say nothing of false alarms.")
    paired = [rows for rows in groups if "again" in rows and rows["again"].notna().all()]
    for title, reference, used in (("Without a reference", False, groups), ("With a reference", True, paired)):
        if not used:
            continue
        noises = [noise_of(rows, reference=reference) for rows in used]
        spread = [np.log(noise.values).std(ddof=1) for noise in noises]
        click.echo(
            f"{title}: {len(noises)} series, {sum(len(noise.values) for noise in noises)} nights, which differ by "
            f"{min(spread):.1%} to {max(spread):.1%} (standard deviation)\n"
        )
        click.echo(table(noises, places).to_string(index=False) + "\n")
    reruns = [verdict for rows in paired for verdict in noise_of(rows, reference=True).reruns or ()]
    agreed = sum(confirmed(verdict, _LATENCY, _MIN_CHANGE) for verdict in reruns)
    click.echo(f"reruns of a file against itself that confirm a regression: {agreed} of {len(reruns)}")


if __name__ == "__main__":
    main()
