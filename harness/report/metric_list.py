"""The metrics of the catalogue for whoever looks for the name of one: what tables call it, and its unit."""

from __future__ import annotations

from harness.metrics import CATALOGUE, SECTIONS
from harness.report.rendering import render_tables
from harness.report.table import Cell, Section, Table

_NEITHER = "–"


def render_metrics(*, width: int | None = None) -> str:
    """A table for a terminal, in the order of a comparison's rows."""
    sections = tuple(
        Section(
            (name, "", "", ""),
            tuple(
                (
                    Cell(metric.name),
                    Cell(metric.label),
                    Cell(_NEITHER if metric.unit == "1" else metric.unit),
                    Cell(metric.better or _NEITHER),
                )
                for metric in CATALOGUE
                if metric.section == name
            ),
        )
        for name in SECTIONS
    )
    table = Table("Metrics, as columns of a table", ("name", "label in tables", "unit", "better"), sections)
    return render_tables([table], "terminal", width=width)
