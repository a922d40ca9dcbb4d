"""The metrics of the catalogue for whoever looks for the name of one: what tables call it, and its unit."""

from __future__ import annotations

from harness.metrics import CATALOGUE, SECTIONS
from harness.report.rendering import render_tables
from harness.report.table import simple_table


def render_metrics(*, width: int | None = None) -> str:
    """A table for a terminal, in the order of a comparison's rows."""
    rows = [
        (metric.name, metric.label, "" if metric.unit == "1" else metric.unit, section)
        for section in SECTIONS
        for metric in CATALOGUE
        if metric.section == section
    ]
    table = simple_table("Metrics, as columns of a table", ("name", "label in tables", "unit", "section"), rows)
    return render_tables([table], "terminal", width=width)
