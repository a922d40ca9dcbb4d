"""What removing a channel saves, as a table for people, as TOML for a recipe, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.analysis.comparison import Comparison
from harness.analysis.figures import Figure
from harness.analysis.numbers import quantity, scale, times
from harness.cli.models.channel_prices import NOTHING, Price
from harness.report.layout import comparison_table
from harness.report.table import Cell, Section, Table, lines_of
from harness.statistics.summary import Estimate

NEEDED = "A recipe needs four prices, not all of them 0."
NONE = Cell("–", tone="muted")


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
