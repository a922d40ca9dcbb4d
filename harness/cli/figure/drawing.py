"""What the commands of `harness figure` draw, write and say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.cli.figure.files import drawer, kind_of_file, written
from harness.errors import NothingComparable
from harness.flash.ablation.from_results import read_ablation
from harness.report.figures.captions import (
    latencies_caption,
    latencies_json,
    panel_json,
    points_caption,
    points_json,
    positions_caption,
    positions_json,
    rooflines_caption,
)
from harness.report.figures.intensity import rooflines
from harness.report.figures.latencies import choose_phase, label_of, latencies_of
from harness.report.figures.panels import Panel, panels_of
from harness.report.figures.points import COSTS, QUALITIES, choose, drawable, points_of
from harness.report.figures.positions import positions_of
from harness.report.flash_ablation import table_of
from harness.report.table import lines_of
from harness.store.dataset import read_tables


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
    kind_of_file(output)
    tables = read_tables(results, session)
    chosen, left_out = panels_of(tables, models=models, target=target, allow_different=allow_different)
    return Selected(chosen, left_out, output)


def pareto(selected: Selected, cost: str | None, quality: str | None, marks: str | None, *, as_json: bool) -> str:
    """Draw quality against cost; what is printed."""
    x, y = choose(cost, COSTS, selected.panels), choose(quality, QUALITIES, selected.panels)
    chosen = drawable([(panel, *points_of(panel, x, y, marks)) for panel in selected.panels])
    drawn = drawer("pareto").draw([panel for panel, _, _ in chosen], [points for _, points, _ in chosen], x, y)
    values = [panel_json(panel, points_json(points, x, y), absent) for panel, points, absent in chosen]
    return written(drawn, selected.output, [*points_caption(chosen, x, y), *selected.left_out], values, as_json)


def distribution(selected: Selected, phase: str | None, *, as_json: bool) -> str:
    """Draw the latencies of every process; what is printed."""
    name = choose_phase(phase, selected.panels)
    every = [(panel, *latencies_of(panel, name)) for panel in selected.panels]
    chosen = [(panel, latencies, absent) for panel, latencies, absent in every if latencies]
    label = label_of(name)
    drawn = drawer("distribution").draw([panel for panel, _, _ in chosen], [items for _, items, _ in chosen], label)
    values = [panel_json(panel, latencies_json(latencies), absent) for panel, latencies, absent in chosen]
    return written(drawn, selected.output, [*latencies_caption(chosen, label), *selected.left_out], values, as_json)


def position(selected: Selected, *, as_json: bool) -> str:
    """Draw the latency of a decoded token against its position; what is printed."""
    every = [(panel, *positions_of(panel)) for panel in selected.panels]
    chosen = [(panel, models, absent) for panel, models, absent in every if models]
    if not chosen:
        raise NothingComparable(
            "No model here decoded tokens at one position in several queries.",
            "Measure a language model: `harness run -m baseline --scenario generate --new-tokens 64`.",
        )
    drawn = drawer("position").draw([panel for panel, _, _ in chosen], [models for _, models, _ in chosen])
    values = [panel_json(panel, positions_json(models), absent) for panel, models, absent in chosen]
    return written(drawn, selected.output, [*positions_caption(chosen), *selected.left_out], values, as_json)


def roofline(selected: Selected, *, as_json: bool) -> str:
    """Draw how near models come to the bounds of their device; what is printed."""
    chosen = rooflines(selected.panels)
    drawn = drawer("roofline").draw([panel for panel, *_ in chosen], [(roof, dots) for _, roof, dots, _ in chosen])
    values = [
        panel_json(panel, [asdict(dot) for dot in dots], absent) | {"roof": asdict(roof)}
        for panel, roof, dots, absent in chosen
    ]
    return written(drawn, selected.output, [*rooflines_caption(chosen), *selected.left_out], values, as_json)


def ablation(results: Path, session: str, output: Path, *, as_json: bool) -> str:
    """Draw the steps of an ablation; what is printed. Raises NothingComparable where there is none."""
    kind_of_file(output)
    steps_drawer = drawer("ablation")
    ablations = [measured for measured in read_ablation(results, session) if len(measured.rows) > 1]
    if not ablations:
        raise NothingComparable(
            f"Session {session} of {results} has no ablation.", "Measure one: `harness run --scenario flash --ablate`."
        )
    steps = [
        (measured.model, [steps_drawer.Step(row.policy, row.io, row.token, row.flash_bytes) for row in measured.rows])
        for measured in ablations
    ]
    caption = [
        "What each step of an ablation does to the latency of a token, and to the bytes that it reads from flash. "
        "Filled: waiting for flash. Hollow: the whole token. Bars: 95 % intervals over processes.",
    ]
    for table in map(table_of, ablations):
        caption += [f"{table.title}: {'; '.join(table.caption[:2])}", *table.notes]
    origin = " · ".join(
        dict.fromkeys(f"{measured.job['target']} · session {measured.session}" for measured in ablations)
    )
    values = [{"model": name, "steps": [asdict(step) for step in of_model]} for name, of_model in steps]
    return written(steps_drawer.draw(steps, origin), output, lines_of(caption), values, as_json)
