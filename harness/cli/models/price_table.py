"""From the comparison of a whole program with ones that lack channels to what a channel of each kind saves.

The speed-up of a program is taken block by block, with a 99 % interval, as in every comparison. A channel's price is

    latency of the whole program * (1 - 1 / speed-up) / channels removed

and its interval that of the speed-up. The latency is a factor of all four prices, and the penalty that they are for
knows their proportions only, so the interval leaves out what is uncertain about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import Comparison
from harness.analysis.figures import Figure, Versus
from harness.analysis.numbers import quantity, scale, times
from harness.models.recipe import LAYERS
from harness.report.layout import comparison_table
from harness.report.table import Cell, Section, Table, lines_of
from harness.statistics.summary import Estimate

if TYPE_CHECKING:
    from harness.models.zoo.pricing import Program

UNRESOLVED = "not resolved: the interval contains 0; give more --blocks"
NOTHING = "saves nothing: the exported program is the same without these rows"
NEEDED = "A recipe needs four prices, not all of them 0."
NONE = Cell("–", tone="muted")


@dataclass(frozen=True)
class Price:
    """What removing one of `channels` output channels of a kind of layer saves, in nanoseconds of one phase.

    `latency` and `speed_up` are those of the program without them; `saved` is None where it was not measured. `reason`
    says why there is no price, None: `saved` is one.
    """

    kind: str
    channels: int | None
    latency: Figure
    speed_up: Versus | None
    saved: Estimate | None
    reason: str | None


def prices(comparison: Comparison, phase: str, programs: Sequence[Program]) -> tuple[Figure, list[Price]]:
    """The latency of the whole program, which is the first of `programs` and the comparison's baseline, and a price for
    each kind of layer, of the others.
    """
    figures = dict.fromkeys((program.path.stem for program in programs), Figure(None, reason="not measured"))
    against: dict[str, Versus | None] = {}
    for row in comparison.rows:
        if row.metric.name == f"{phase}_latency_ns_p50":
            names = [model.name for model in comparison.models]
            figures |= dict(zip(names, row.figures, strict=True))
            against = dict(zip(names, row.versus, strict=True))
    uncut, made = figures[programs[0].path.stem], {program.kind: program for program in programs}
    priced = []
    for kind in LAYERS:
        if kind not in made:
            priced.append(Price(kind, None, Figure(None), None, None, NOTHING))
            continue
        figure, versus = figures[made[kind].path.stem], against.get(made[kind].path.stem)
        saved = _saved(uncut, versus, made[kind].channels)
        reason = figure.reason or uncut.reason or "too few processes" if saved is None else _doubt(saved)
        priced.append(Price(kind, made[kind].channels, figure, versus, saved, reason))
    return uncut, priced


def _saved(uncut: Figure, versus: Versus | None, channels: int) -> Estimate | None:
    """Nanoseconds a channel; None without an interval: what may be noise is no price."""
    if uncut.estimate is None or versus is None or versus.value is None or versus.low is None or versus.high is None:
        return None
    ratios = (versus.value, versus.low, versus.high)
    value, low, high = (uncut.estimate.value * (1 - 1 / ratio) / channels for ratio in ratios)
    return Estimate(value, low, high, versus.processes)


def _doubt(saved: Estimate) -> str | None:
    """Why what is saved is no price, if it is none."""
    assert saved.low is not None
    assert saved.high is not None
    if saved.low > 0:
        return None
    return "the program is slower without these rows" if saved.high < 0 else UNRESOLVED


def table(comparison: Comparison, what: str, uncut: Figure, prices: Sequence[Price]) -> Table:
    """The prices for people, under the facts of the comparison that they are derived from; `what` says of what."""
    figures = [uncut, *(price.latency for price in prices)]
    step = scale("ns", [figure.estimate.value for figure in figures if figure.estimate is not None])
    rows = [(Cell("(whole)"), Cell("0"), _latency(uncut, step), Cell(), Cell())]
    for price in prices:
        removed, speed_up, saved = NONE, NONE, NONE
        if price.channels is not None:
            removed = Cell(f"{price.channels:,}")
        if price.speed_up is not None and price.speed_up.value is not None:
            speed_up = Cell(*times(price.speed_up.value, price.speed_up.low, price.speed_up.high))
        if price.saved is not None:
            saved = Cell(*_nanoseconds(price.saved), tone="plain" if price.reason is None else "muted")
        rows.append((Cell(price.kind), removed, _latency(price.latency, step), speed_up, saved))
    columns = ("rows of", "removed", "latency p50", "speed-up", "saved a row")
    title, *facts = _facts(comparison, what)
    legend = "latency [95 % interval over processes]; speed-up and what a removed row saves [99 % interval]"
    doubts = [f"{price.kind}: {price.reason}." for price in prices if price.reason is not None]
    notes = (*doubts, *([NEEDED] if doubts else []), *comparison.notes)
    return Table(title, columns, (Section(("",) * len(columns), tuple(rows)),), (*facts, legend), notes)


def _facts(comparison: Comparison, what: str) -> list[str]:
    """Of what the prices are, and how they were obtained, line by line."""
    base = comparison_table(comparison)
    return [f"{what} · {base.title}", *base.caption[:-1]]  # the last line is the legend of another table


def _latency(figure: Figure, step: tuple[float, str]) -> Cell:
    if figure.estimate is None:
        return NONE
    text, detail = quantity(figure.estimate.value, figure.estimate.low, figure.estimate.high, step)
    return Cell(text if figure.kind == "measured" else f"{text} {figure.kind}", detail)


def _nanoseconds(saved: Estimate) -> tuple[str, str]:
    return quantity(saved.value, saved.low, saved.high, (1.0, "ns"))


def toml(name: str, comparison: Comparison, what: str, prices: Sequence[Price]) -> str:
    """The table `prices` of the recipe `name`, with where they are from; what is no price stands in a comment."""
    lines = [*(f"# {line}" for line in lines_of(_facts(comparison, what))), f"[models.{name}.compression.prices]"]
    for price in prices:
        saving = "" if price.saved is None else " ".join(_nanoseconds(price.saved))
        if price.reason == NOTHING:
            lines.append(f"{price.kind} = 0 # {NOTHING}")
        elif price.saved is None or price.reason is not None:
            lines += lines_of([f"# {price.kind}: {saving}{', ' if saving else ''}{price.reason}"])
        else:
            lines.append(f"{price.kind} = {price.saved.value:.4g} # {saving}")
    return "\n".join(lines) + "\n"


def as_json(comparison: Comparison, what: str, uncut: Figure, prices: Sequence[Price]) -> dict[str, Any]:
    """Everything at full precision; null means not measured, and `reason` says why."""
    return {
        "prices_of": what,
        "condition": asdict(comparison.condition),
        "sessions": comparison.sessions,
        "dates": comparison.dates,
        "fingerprint": comparison.fingerprint,
        "whole": asdict(uncut),
        "prices": [asdict(price) for price in prices],
        "notes": comparison.notes,
    }
