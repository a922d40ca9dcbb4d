"""What the commands of `harness figure` draw, write and say."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import NothingComparable, UsageError
from harness.flash.ablation.from_results import read_ablation
from harness.outside_files import write_whole
from harness.report.figures.captions import (
    latencies_caption,
    latencies_json,
    panel_json,
    points_caption,
    points_json,
    rooflines_caption,
)
from harness.report.figures.intensity import rooflines
from harness.report.figures.latencies import choose_phase, label_of, latencies_of
from harness.report.figures.panels import Panel, panels_of
from harness.report.figures.points import COSTS, QUALITIES, choose, drawable, points_of
from harness.report.flash_ablation import table_of
from harness.report.machine import dump_json
from harness.report.table import lines_of
from harness.store.dataset import read_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Selected:
    """What is to be drawn, sentences on what cannot be, and the file."""

    panels: list[Panel]
    left_out: list[str]
    output: Path


def panels(
    results: Path, session: str, models: Sequence[str], target: str | None, allow_different: bool, output: Path
) -> Selected:
    """A panel for each condition. Raises UsageError before anything is read where the file cannot be drawn."""
    _kind_of_file(output)
    tables = read_tables(results, session)
    found, left_out = panels_of(tables, models=models, target=target, allow_different=allow_different)
    return Selected(found, left_out, output)


def pareto(selected: Selected, cost: str | None, quality: str | None, *, as_json: bool) -> str:
    """Draw quality against cost; what is printed."""
    x, y = choose(cost, COSTS, selected.panels), choose(quality, QUALITIES, selected.panels)
    found = drawable([(panel, *points_of(panel, x, y)) for panel in selected.panels])
    drawn = _drawer("pareto").draw([panel for panel, _, _ in found], [points for _, points, _ in found], x, y)
    values = [panel_json(panel, points_json(points, x, y), absent) for panel, points, absent in found]
    return _written(drawn, selected.output, [*points_caption(found, x, y), *selected.left_out], values, as_json)


def distribution(selected: Selected, phase: str | None, *, as_json: bool) -> str:
    """Draw the latencies of every process; what is printed."""
    name = choose_phase(phase, selected.panels)
    every = [(panel, *latencies_of(panel, name)) for panel in selected.panels]
    found = [(panel, latencies, absent) for panel, latencies, absent in every if latencies]
    label = label_of(name)
    drawn = _drawer("distribution").draw([panel for panel, _, _ in found], [items for _, items, _ in found], label)
    values = [panel_json(panel, latencies_json(latencies), absent) for panel, latencies, absent in found]
    return _written(drawn, selected.output, [*latencies_caption(found, label), *selected.left_out], values, as_json)


def roofline(selected: Selected, *, as_json: bool) -> str:
    """Draw how near models come to the bounds of their device; what is printed."""
    found = rooflines(selected.panels)
    drawn = _drawer("roofline").draw([panel for panel, *_ in found], [(roof, dots) for _, roof, dots, _ in found])
    values = [
        panel_json(panel, [asdict(dot) for dot in dots], absent) | {"roof": asdict(roof)}
        for panel, roof, dots, absent in found
    ]
    return _written(drawn, selected.output, [*rooflines_caption(found), *selected.left_out], values, as_json)


def ablation(results: Path, session: str, output: Path, *, as_json: bool) -> str:
    """Draw the steps of an ablation; what is printed. Raises NothingComparable where there is none."""
    _kind_of_file(output)
    drawer = _drawer("ablation")
    found = [measured for measured in read_ablation(results, session) if len(measured.rows) > 1]
    if not found:
        raise NothingComparable(
            f"Session {session} of {results} has no ablation.", "Measure one: `harness run --scenario flash --ablate`."
        )
    steps = [
        (measured.model, [drawer.Step(row.policy, row.io, row.token, row.flash_bytes) for row in measured.rows])
        for measured in found
    ]
    caption = [
        "What each step of an ablation does to the latency of a token, and to the bytes that it reads from flash. "
        "Filled: waiting for flash. Hollow: the whole token. Bars: 95 % intervals over processes.",
    ]
    for table in map(table_of, found):
        caption += [f"{table.title}: {'; '.join(table.caption[:2])}", *table.notes]
    origin = " · ".join(dict.fromkeys(f"{measured.job['target']} · session {measured.session}" for measured in found))
    values = [{"model": name, "steps": [asdict(step) for step in of_model]} for name, of_model in steps]
    return _written(drawer.draw(steps, origin), output, lines_of(caption), values, as_json)


def _kind_of_file(output: Path) -> str:
    """What kind of file is asked for. Raises UsageError where it or matplotlib is not to be had."""
    formats = _drawer("style").FORMATS
    kind = output.suffix.lower().removeprefix(".")
    if kind not in formats:
        raise UsageError(
            f"The ending of {output.name} names no kind of figure.", f"Choose one of: {', '.join(formats)}."
        )
    return kind


def _drawer(name: str) -> ModuleType:
    """A module that draws with matplotlib, an extra."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise UsageError(
            "Figures are drawn by matplotlib, which is not installed.",
            "Install it with `pip install 'edge-harness[figures]'`.",
        ) from error
    return importlib.import_module(f"harness.report.figures.{name}")


def _written(drawn: Figure, output: Path, caption: Sequence[str], values: list[dict[str, Any]], as_json: bool) -> str:
    """Write the file; where it is, with its caption or everything that is drawn."""
    kind = _kind_of_file(output)
    write_whole(output, _drawer("style").file_bytes(drawn, kind, caption), "Name another file with --output.")
    if as_json:
        return dump_json("figure", {"file": str(output), "caption": caption, "panels": values})
    return "\n".join([str(output), "", *caption, ""])
