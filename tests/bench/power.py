"""Coverage and power of the intervals of ratios: how often they contain the true one, and how often a true difference
shows. Of 10,000 simulated comparisons each: paired t, Welch, and the rule that chooses (`block_ratio`), with five and
ten processes; and after `--resolve`, which looks after every block. Prints tables; asserts only that its arrays
say what the functions say.

    python tests/bench/power.py                  # some minutes
    python tests/bench/power.py nights.csv       # also real noise: rows of series, night, block, value, again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from harness.statistics.looks import CONFIDENCE_OF_A_LOOK, FEWEST_BLOCKS, MOST_BLOCKS
from harness.statistics.ratio import POWER, RATIO_CONFIDENCE, block_ratio, paired_ratio, unpaired_ratio

Floats = npt.NDArray[np.float64]
Random = np.random.Generator
Noise = Callable[[Random, int, int], tuple[Floats, Floats]]
COMPARISONS = 10_000
SHIPPED = Path(__file__).with_name("nights.csv")
# The deviation of one process at which five pairs find +5 % in about half of all comparisons.
SPREAD = 0.017
SPREADS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08)
ASKED = 0.05
METHODS = ("paired t", "Welch", "rule")


def normal(random: Random, count: int, blocks: int) -> Floats:
    return random.standard_normal((count, blocks))


def autoregressive(random: Random, count: int, blocks: int) -> Floats:
    """AR(.7) of variance 1, from its first value on."""
    found = np.empty((count, blocks))
    found[:, 0] = random.standard_normal(count)
    for block in range(1, blocks):
        found[:, block] = 0.7 * found[:, block - 1] + np.sqrt(1 - 0.49) * random.standard_normal(count)
    return found


def alone(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    return normal(random, count, blocks), normal(random, count, blocks)


def shared(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    """Half the variance is the block's, without an order."""
    block = normal(random, count, blocks)
    return block + normal(random, count, blocks), block + normal(random, count, blocks)


def drift(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    block = autoregressive(random, count, blocks)
    return block + normal(random, count, blocks), block + normal(random, count, blocks)


def line(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    slope = np.linspace(-4, 4, blocks)
    return slope + normal(random, count, blocks), slope + normal(random, count, blocks)


def unequal(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    """One model varies three times as much; together as much as two equal ones."""
    return normal(random, count, blocks) / np.sqrt(5), 3 * normal(random, count, blocks) / np.sqrt(5)


def one_alone(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    """Only the second varies, so that its spread alone decides when to stop."""
    return 1e-3 * normal(random, count, blocks), np.sqrt(2) * normal(random, count, blocks)


def unequal_drift(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    block, (a, b) = autoregressive(random, count, blocks), unequal(random, count, blocks)
    return block + a, block + b


def heavy(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    """Student's t of 3 degrees of freedom, variance 1."""
    a, b = (random.standard_t(3, (count, blocks)) / np.sqrt(3) for _ in range(2))
    return a, b


def outliers(random: Random, count: int, blocks: int) -> tuple[Floats, Floats]:
    """One process in ten varies five times as much; variance 1."""
    a, b = (
        normal(random, count, blocks) * np.where(random.random((count, blocks)) < 0.1, 5, 1) / np.sqrt(3.4)
        for _ in range(2)
    )
    return a, b


NOISES: Mapping[str, Noise] = {
    "normal": alone,
    "shared by block": shared,
    "AR(.7) drift": drift,
    "linear drift": line,
    "unequal 1:3": unequal,
    "unequal, AR(.7)": unequal_drift,
    "t with 3 d.f.": heavy,
    "outliers": outliers,
}


class Intervals(NamedTuple):
    """Of comparisons after their first 1, 2, 3, ... blocks: the logarithm of the ratio, its standard error and the
    degrees of freedom; nothing below three blocks is meant.
    """

    centre: Floats
    error: Floats
    freedom: Floats

    def half(self, confidence: float) -> Floats:
        return np.asarray(stdtrit(self.freedom, 0.5 + confidence / 2) * self.error)

    def shows(self, confidence: float) -> Floats:
        """On logarithms."""
        return np.asarray(self.half(confidence) + stdtrit(self.freedom, POWER) * self.error)


def intervals(a: Floats, b: Floats, method: str) -> Intervals:
    """Of comparisons (rows) by their blocks (columns)."""
    blocks = np.arange(1, a.shape[1] + 1)
    degrees = np.maximum(blocks - 1, 1.0)
    centre, variance = running(a - b)
    paired = Intervals(centre, np.sqrt(variance / blocks), np.broadcast_to(degrees, centre.shape))
    if method == "paired t":
        return paired
    va, vb = running(a)[1], running(b)[1]
    welch = Intervals(centre, np.sqrt((va + vb) / blocks), (va + vb) ** 2 / (va**2 + vb**2) * degrees)
    if method == "Welch":
        return welch
    sums = a + b
    steps = np.cumsum(np.diff(sums, axis=1, prepend=sums[:, :1]) ** 2, axis=1)
    unpaired = (steps >= 2 * running(sums)[1] * degrees) & (blocks >= 3) & (blocks < 10)
    return Intervals(
        centre, np.where(unpaired, welch.error, paired.error), np.where(unpaired, welch.freedom, paired.freedom)
    )


def running(values: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of the first 1, 2, 3, ... columns; a variance of one value is next to nothing."""
    blocks = np.arange(1, values.shape[1] + 1)
    mean = np.cumsum(values, axis=1) / blocks
    squares = np.cumsum(values**2, axis=1) - blocks * mean**2
    return mean, np.maximum(squares / np.maximum(blocks - 1, 1), 1e-24)


class Stopped(NamedTuple):
    """Comparisons after `--resolve`: how many blocks each had, whether the interval contains the true ratio, whether a
    difference as large as was asked for shows, and whether what was asked was reached.
    """

    blocks: Floats
    covers: npt.NDArray[np.bool_]
    finds: npt.NDArray[np.bool_]
    reached: npt.NDArray[np.bool_]


def resolve(a: Floats, b: Floats, asked: float, confidence: float, method: str = "rule") -> Stopped:
    """Look after every block from the fifth on, at this confidence, and stop when `asked` would show."""
    found = intervals(a, b, method)
    enough = found.shows(confidence) <= np.log1p(asked)
    enough[:, : FEWEST_BLOCKS - 1] = False
    reached = enough.any(axis=1)
    last = np.where(reached, enough.argmax(axis=1), a.shape[1] - 1)
    at = np.arange(len(a)), last
    centre, half = found.centre[at], found.half(confidence)[at]
    return Stopped(last + 1.0, np.abs(centre) <= half, centre + np.log1p(asked) > half, reached)


def check() -> None:
    """The arrays against the functions that harness has."""
    random = np.random.default_rng(1)
    for blocks in (3, 5, 9, 10):
        a, b = drift(random, 50, blocks)
        a, b = 0.02 * a, 0.02 * b
        for method in METHODS:
            found = intervals(a, b, method)
            half, shows = found.half(RATIO_CONFIDENCE)[:, -1], np.expm1(found.shows(RATIO_CONFIDENCE)[:, -1])
            for row in range(len(a)):
                first, second = (dict(enumerate(np.exp(values[row]))) for values in (a, b))
                functions = {"paired t": paired_ratio, "rule": block_ratio}
                ratio = (
                    functions[method](first, second)
                    if method in functions
                    else unpaired_ratio([*first.values()], [*second.values()])
                )
                np.testing.assert_allclose(np.log(ratio.high or 0) - np.log(ratio.value), half[row], rtol=1e-6)
                np.testing.assert_allclose(ratio.shows or 0, shows[row], rtol=1e-6)


def fixed_table(noises: Mapping[str, Noise], blocks: int, scale: float) -> pd.DataFrame:
    """Percent of comparisons with so many blocks."""
    rows = []
    for name, noise in noises.items():
        a, b = noise(np.random.default_rng(blocks), COMPARISONS, blocks)
        for method in METHODS:
            found = intervals(scale * a, scale * b, method)
            centre, halves = found.centre[:, -1], {c: found.half(c)[:, -1] for c in (0.95, 0.99)}
            rows.append(
                {
                    "noise": name,
                    "interval": method,
                    "95 %": 100 * np.mean(np.abs(centre) <= halves[0.95]),
                    "99 %": 100 * np.mean(np.abs(centre) <= halves[0.99]),
                    "+5 % shows": 100 * np.mean(centre + np.log(1.05) > halves[0.99]),
                    "+10 % shows": 100 * np.mean(centre + np.log(1.10) > halves[0.99]),
                }
            )
    return pd.DataFrame(rows).round(1)


def resolve_table(confidence: float) -> pd.DataFrame:
    """Percent of comparisons after `--resolve 5%`, by the spread of a process; the interval is one of `confidence`."""
    rows = []
    for name, noise in NOISES.items():
        if name in ("shared by block", "linear drift"):  # with so many blocks these are paired, and so as normal noise
            continue
        for spread in SPREADS:
            a, b = noise(np.random.default_rng(5), COMPARISONS, MOST_BLOCKS)
            naive = resolve(spread * a, spread * b, ASKED, confidence)
            found = resolve(spread * a, spread * b, ASKED, CONFIDENCE_OF_A_LOOK[confidence])
            rows.append(
                {
                    "noise": name,
                    "spread": f"{spread:.1%}",
                    "not adjusted": 100 * naive.covers.mean(),
                    "covers": 100 * found.covers.mean(),
                    "+5 % shows": 100 * found.finds.mean(),
                    "of those reached": 100 * found.finds[found.reached].mean() if found.reached.any() else np.nan,
                    "reached": 100 * found.reached.mean(),
                    "blocks, mean": found.blocks.mean(),
                    "median": np.median(found.blocks),
                }
            )
    return pd.DataFrame(rows).round(2)


def figure_table(confidence: float = 0.95) -> pd.DataFrame:
    """The interval of each model's own figure after the same looks, where nothing drifts: percent that it covers."""
    rows = []
    for name in ("normal", "unequal 1:3", "one alone", "t with 3 d.f.", "outliers"):
        row: dict[str, object] = {"noise": name}
        for spread in SPREADS:
            a, b = (
                spread * one
                for one in {**NOISES, "one alone": one_alone}[name](np.random.default_rng(6), COMPARISONS, MOST_BLOCKS)
            )
            stopped = resolve(a, b, ASKED, CONFIDENCE_OF_A_LOOK[RATIO_CONFIDENCE]).blocks.astype(int)
            at = np.arange(COMPARISONS), stopped - 1
            for number, model in enumerate((a, b)):
                mean, variance = running(model)
                t = stdtrit(stopped - 1, 0.5 + CONFIDENCE_OF_A_LOOK[confidence] / 2)
                covers = np.abs(mean[at]) <= t * np.sqrt(variance[at] / stopped)
                row[f"{spread:.1%}{' other' if number else ''}"] = 100 * covers.mean()
        rows.append(row)
    return pd.DataFrame(rows).round(1)


def recorded(file: Path) -> dict[str, Noise]:
    """Real noise: blocks that followed one another in a night of one file under two names, as they were."""
    found: dict[str, Noise] = {}
    for name, rows in pd.read_csv(file).dropna(subset="again").groupby("series"):
        wide = rows.pivot(index="night", columns="block")
        first, second = (np.log(wide[column].to_numpy()) for column in ("value", "again"))

        def noise(
            random: Random, count: int, blocks: int, first: Floats = first, second: Floats = second
        ) -> tuple[Floats, Floats]:
            night = random.integers(0, len(first), count)[:, None]
            at = random.integers(0, first.shape[1] - blocks + 1, count)[:, None] + np.arange(blocks)
            swapped = random.random(count)[:, None] < 0.5
            return tuple(
                np.where(swapped, one[night, at], two[night, at]) for one, two in ((first, second), (second, first))
            )

        found[f"{file.stem}: {name}"] = noise
    return found


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Print coverage and power; FILES hold real noise of one model under two names."""
    check()
    pd.set_option("display.width", 160)
    real = {name: noise for file in files or (SHIPPED,) for name, noise in recorded(file).items()}
    for blocks in (3, 5, 7, 10):
        print(
            f"\n{blocks} processes a model, {COMPARISONS} comparisons; a process varies by {SPREAD:.1%}; shows: at 99 %"
        )
        print(fixed_table(NOISES, blocks, SPREAD).to_string(index=False))
    for blocks in (5, 10):
        print(f"\n{blocks} processes a model, recorded noise as it was")
        print(fixed_table(real, blocks, 1.0).to_string(index=False))
    print("\nAfter --resolve 5%, at most 100 blocks: percent of the intervals of 99 % that contain the true ratio")
    print(resolve_table(0.99).to_string(index=False))
    print("\nThe interval of 95 % of each model's own figure after --resolve 5%, by the spread of a process")
    print(figure_table().to_string(index=False))


if __name__ == "__main__":
    main()
