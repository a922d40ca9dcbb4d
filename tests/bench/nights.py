"""Scores what `harness nightly` concludes: how many nights a step takes until it is raised and published, and what is
raised and published where nothing changed.

Every night goes the way of a real one (`changes_of`, alerts, a rerun of 10, 20 and 40 pairs), on nights that are drawn
from recorded ones, in any order, and on simulated ones. The recorded nights are sessions of one file under two names,
interleaved: the second name is the reference, and the pairs of a rerun are drawn from all nights. Prints tables;
asserts nothing.

    python tests/bench/nights.py                                    # the nights that came with harness, some minutes
    python tests/bench/nights.py --record nights.csv --nights 40    # those of this machine
    python tests/bench/nights.py nights.csv
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from harness.conditions.fields import Condition
from harness.experiment.request import RunRequest
from harness.metrics import CATALOGUE
from harness.nightly.alerts import Alert, covers, is_of, raised
from harness.nightly.config import NightlyConfig
from harness.nightly.detection import changes_of
from harness.nightly.series import Point, Series
from harness.nightly.verdict import judge
from harness.statistics.change_points import SEGMENT
from harness.statistics.newest import median_variance
from harness.statistics.ratio import RATIO_CONFIDENCE
from harness.statistics.rerun_looks import NEW_PAIRS, look_confidence

Floats = npt.NDArray[np.float64]
Nights = Callable[[np.random.Generator, int], Floats]
"""Draws the processes of so many quiet nights: logarithms [nights, processes]."""
Pairs = Callable[[np.random.Generator, int], Floats]
"""Draws so many pairs of a rerun of a file against itself: logarithms of their ratios [pairs]."""

STEPS = (0.02, 0.05, 0.10, 0.20, 0.50)
NIGHTS_SEEN = 3
# Of a calm machine, whose processes differ by 1 to 2 %, and of one that others shared, where it was 8 to 14 %.
_SHIPPED = [Path(__file__).with_name(name) for name in ("nights.csv", "nights_shared.csv")]
_LATENCY = next(metric for metric in CATALOGUE if metric.name == "steady_latency_ns_p50")
_CONDITION = Condition("x86", "cpu", "single-stream", 1, "0", None, False, 1, None, None)
_CONFIG = NightlyConfig(
    name="nights", sha256="", request=RunRequest(target="x86", models="m"), results=Path(), metrics=(_LATENCY,)
)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_QUIET = 100


@dataclass(frozen=True)
class Source:
    """Where nights come from: what they are called, their number of processes, and how to draw them and a rerun."""

    name: str
    processes: int
    nights: Nights
    pairs: Pairs


@dataclass
class Watcher:
    """Nights as they are watched, one more at a time, of one series."""

    pairs: Callable[[int], Floats]
    alerts: list[Alert]
    spent: int = 0

    def night(self, points: Sequence[Point]) -> None:
        """What `harness.nightly.watch.act` does, without a store."""
        series = Series("m", _CONDITION, _LATENCY, "measured", "f", tuple(points[-100:]))
        changes, night = changes_of(series, _CONFIG.max_p, _CONFIG.min_change), points[-1].night
        for change in reversed(changes):
            known = any(is_of(alert, change) or covers(alert, change) for alert in self.alerts)
            if change.regression and change.recent and not known:
                self.alerts.append(raised(change, _CONFIG, night, _NOW))
        for number, alert in enumerate(self.alerts):
            if alert.state != "provisional":
                continue
            shown = any(is_of(alert, change) for change in changes)
            if not shown and night - alert.change_night + 1 >= SEGMENT:
                self.alerts[number] = replace(alert, state="withdrawn", night=night)
                continue
            decision = self._rerun(alert.rounds + 1)
            state = {"regression": "published", "no regression": "withdrawn"}.get(str(decision), "provisional")
            self.alerts[number] = replace(alert, state=state, night=night, rerun_rounds=alert.rounds + 1)

    def _rerun(self, round_number: int) -> str | None:
        ratios: list[float] = []
        decision: str | None = None
        for look, count in enumerate(NEW_PAIRS, 1):
            ratios += np.exp(self.pairs(count)).tolist()
            self.spent += count
            confidence = look_confidence(RATIO_CONFIDENCE, look, round_number)
            decision = judge([(1.0, ratio) for ratio in ratios], _LATENCY, _CONFIG.min_change, confidence).decision
            if decision != "undecided":
                break
        return decision


def points_of(processes: Floats, first: int = 1) -> list[Point]:
    """A point a night, of logarithms [nights, processes]; every night has a new file."""
    values = np.exp(processes)
    return [
        Point(night, float(np.median(each)), len(each), False, f"file{night}", None, median_variance(each))
        for night, each in enumerate(values, first)
    ]


def steps(source: Source, series: int, seed: int = 0) -> list[dict[str, object]]:
    """Of each size of step: the share of series in which it was raised, and published, by its first, second, third
    night, and the pairs of processes that were spent on the average.
    """
    rows: list[dict[str, object]] = []
    for step in STEPS:
        random = np.random.default_rng(seed)
        by_night, spent = np.zeros((2, NIGHTS_SEEN)), 0
        for _ in range(series):
            before = int(random.integers(4, 25))
            processes = source.nights(random, before + NIGHTS_SEEN)
            processes[before:] += math.log1p(step)
            points = points_of(processes)
            watcher = Watcher(lambda count, r=random, s=step: source.pairs(r, count) + math.log1p(s), [])  # type: ignore[misc]
            for seen in range(NIGHTS_SEEN):
                watcher.night(points[: before + seen + 1])
                by_night[0, seen] += bool(watcher.alerts)
                by_night[1, seen] += any(alert.state == "published" for alert in watcher.alerts)
            spent += watcher.spent
        shares = by_night / series
        rows.append(
            {"nights": source.name, "P": source.processes, "step": f"+{step:.0%}"}
            | {f"raised {n + 1}": f"{shares[0, n]:.3f}" for n in range(NIGHTS_SEEN)}
            | {f"published {n + 1}": f"{shares[1, n]:.3f}" for n in range(NIGHTS_SEEN)}
            | {"pairs": f"{spent / series:.0f}"}
        )
    return rows


def quiet(source: Source, series: int, seed: int = 1) -> dict[str, object]:
    """Of 100 nights on which nothing changed: how many alerts were raised and published, and the pairs spent."""
    random = np.random.default_rng(seed)
    alerts = published = spent = 0
    for _ in range(series):
        points = points_of(source.nights(random, _QUIET))
        watcher = Watcher(lambda count, r=random: source.pairs(r, count), [])  # type: ignore[misc]
        for night in range(5, _QUIET + 1):
            watcher.night(points[:night])
        alerts, spent = alerts + len(watcher.alerts), spent + watcher.spent
        published += sum(alert.state == "published" for alert in watcher.alerts)
    each = 100 / (_QUIET * series)
    return {
        "nights": source.name,
        "P": source.processes,
        "of nights": _QUIET * series,
        "raised": f"{alerts * each:.2f}",
        "published": f"{published * each:.4f}",
        "pairs": f"{spent * each:.0f}",
    }


def simulated(name: str, processes: int, between: float, within: float, ar: float = 0.0, drift: float = 0.0) -> Source:
    """Normal noise: standard deviations of nights and of the processes of a night, correlation of a night with the one
    before, and by what share 100 nights drift for the worse.
    """

    def nights(random: np.random.Generator, count: int) -> Floats:
        effects = random.normal(0, between, count)
        for night in range(1, count):
            effects[night] = ar * effects[night - 1] + math.sqrt(1 - ar**2) * effects[night]
        level = effects + np.arange(count) * math.log1p(drift) / 100
        return level[:, None] + random.normal(0, within, (count, processes))

    return Source(name, processes, nights, lambda random, count: random.normal(0, within, count))


def recorded(frame: pd.DataFrame, name: str, processes: int, *, reference: bool) -> Source:
    """Nights drawn from recorded ones: any night of any series, and so many of its processes."""
    level = np.log(frame["value"] / frame["again"] if reference else frame["value"])
    pairs = np.log(frame["value"] / frame["again"])
    held = [
        group.pivot_table(index="night", columns="block", values="level").to_numpy()
        for _, group in frame.assign(level=level).groupby("series")
    ]
    ratios = [
        group.pivot_table(index="night", columns="block", values="pairs").to_numpy()
        for _, group in frame.assign(pairs=pairs).groupby("series")
    ]

    def nights(random: np.random.Generator, count: int) -> Floats:
        series = held[int(random.integers(len(held)))]
        chosen = series[random.integers(len(series), size=count)]
        return np.stack([random.permutation(night)[:processes] for night in chosen])

    def rerun(random: np.random.Generator, count: int) -> Floats:
        series = ratios[int(random.integers(len(ratios)))]
        size = series.shape[1]
        chosen = [random.permutation(series[int(random.integers(len(series)))]) for _ in range(-(-count // size))]
        return np.concatenate(chosen)[:count]

    return Source(name, processes, nights, rerun)


def coverage(effect: float, tails: int | None, count: int = 10_000) -> dict[str, object]:
    """How often the interval at which a round stops holds the true effect, and what it decides."""
    random = np.random.default_rng(3)
    shape = (count, sum(NEW_PAIRS))
    noise = random.standard_normal(shape) if tails is None else random.standard_t(tails, shape)
    values = math.log1p(effect) + 0.06 * noise / (1 if tails is None else math.sqrt(tails / (tails - 2)))
    covered, open_, pairs = np.zeros(count, bool), np.ones(count, bool), np.zeros(count)
    decided = {"regression": 0.0, "no regression": 0.0}
    for look, size in enumerate(np.cumsum(NEW_PAIRS), 1):
        seen = values[:, :size]
        quantile = stdtrit(size - 1, 0.5 + look_confidence(RATIO_CONFIDENCE, look) / 2)
        half, middle = quantile * seen.std(axis=1, ddof=1) / math.sqrt(size), seen.mean(axis=1)
        covered[open_] = (np.abs(middle - math.log1p(effect)) <= half)[open_]
        pairs[open_] = size
        worse = open_ & (middle - half > 0) & (middle >= math.log1p(_CONFIG.min_change))
        fine = open_ & ~worse & (middle + half < math.log1p(_CONFIG.min_change))
        decided["regression"] += worse.mean()
        decided["no regression"] += fine.mean()
        open_ &= ~worse & ~fine
    return (
        {"effect": f"+{effect:.0%}", "noise": "normal" if tails is None else f"t({tails})"}
        | {"coverage": f"{covered.mean():.4f}"}
        | {name: f"{share:.4f}" for name, share in decided.items()}
        | {"undecided": f"{open_.mean():.4f}", "pairs": f"{pairs.mean():.0f}"}
    )


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


def record(file: Path, nights: int, model: str, cpu: str, processes: int, seconds: float) -> None:
    """So many sessions of one file under two names, one after another, interleaved.

    As the example of `harness nightly` has it: by the native worker, whose processes begin in milliseconds, on one
    processor. Where this was first recorded, processes that may migrate are in one of two states 40 % apart.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness", "run", "-t", "x86", "-m", model, "-m", model, "--results", folder]
        quick = ["--runtime", "native", "--cpus", cpu, "--processes", str(processes), "--min-duration", str(seconds)]
        quick += ["--no-quality", "--no-memory"]
        for night in range(nights):
            subprocess.run([*command, *quick], check=True, capture_output=True)
            in_nights(Path(folder), processes).to_csv(file, index=False)  # what was recorded stays, if this is stopped
            click.echo(f"night {night + 1} of {nights}", err=True)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--record", "into", type=click.Path(path_type=Path), help="Record nights of noise into this CSV.")
@click.option("--nights", default=40, show_default=True, help="How many to record.")
@click.option("--model", default="baseline-small", show_default=True, help="What to record.")
@click.option("--cpu", default="0", show_default=True, help="On which processor.")
@click.option("--processes", default=10, show_default=True, help="How many processes a night.")
@click.option("--seconds", default=0.5, show_default=True, help="How long each measures, at least.")
@click.option("--series", default=300, show_default=True, help="Series with a step, of each size and kind.")
@click.option(
    "--quiet", "quiet_series", default=30, show_default=True, help="Series of 100 quiet nights, of each kind."
)
def main(
    files: tuple[Path, ...],
    into: Path | None,
    nights: int,
    model: str,
    cpu: str,
    processes: int,
    seconds: float,
    series: int,
    quiet_series: int,
) -> None:
    """Score the nights in FILES, or those that came with harness, and simulated ones."""
    if into is not None:
        record(into, nights, model, cpu, processes, seconds)
        files = (into,)
    sources: list[Source] = []
    for file in files or _SHIPPED:
        frame = pd.read_csv(file)
        sources += [
            recorded(frame, f"{file.stem}, against the reference", 5, reference=True),
            recorded(frame, f"{file.stem}, against the reference", 1, reference=True),
            recorded(frame, f"{file.stem}, by the clock", 5, reference=False),
        ]
    noise: Mapping[str, Mapping[str, float]] = {
        "normal 1 % + 2 %": {},
        "normal, drift of 2 %": {"drift": 0.02},
        "normal, AR(.7)": {"ar": 0.7},
    }
    sources += [simulated(name, 5, 0.01, 0.02, **options) for name, options in noise.items()]
    sources += [simulated("normal 1 % + 2 %", 1, 0.01, 0.02)]
    click.echo("Steps: the share raised and published by the first, second and third night, and pairs of processes\n")
    click.echo(pd.DataFrame([row for source in sources for row in steps(source, series)]).to_string(index=False))
    click.echo("\nQuiet nights: alerts raised and published, and pairs of processes, in 100 nights\n")
    click.echo(pd.DataFrame([quiet(source, quiet_series) for source in sources]).to_string(index=False))
    click.echo(
        "\nA rerun of one night, 10,000 comparisons: coverage of the interval at which it stops, and what it says\n"
    )
    cases = [(effect, tails) for tails in (None, 4) for effect in (0.0, 0.02, 0.03, 0.05, 0.10)]
    click.echo(pd.DataFrame([coverage(*case) for case in cases]).to_string(index=False))


if __name__ == "__main__":
    main()
