"""One way to render: the format by its name."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Literal

from harness.analysis.comparison import Comparison
from harness.report.machine import comparison_csv, comparison_json, dump_json
from harness.report.markdown import render_markdown
from harness.report.paper.csv import render_paper_csv
from harness.report.paper.html import render_html
from harness.report.paper.latex import render_latex
from harness.report.paper.markdown import render_paper_markdown
from harness.report.paper.table import PaperTable
from harness.report.sweep import comparison_tables
from harness.report.table import Table
from harness.report.terminal import render_terminal

Format = Literal["terminal", "markdown", "json", "csv"]
FORMATS: tuple[Format, ...] = ("terminal", "markdown", "json", "csv")
PaperFormat = Literal["latex", "markdown", "html", "csv"]
PAPER_FORMATS: tuple[PaperFormat, ...] = ("latex", "markdown", "html", "csv")


def render(
    comparisons: Sequence[Comparison],
    fmt: Format = "terminal",
    *,
    short: bool = False,
    width: int | None = None,
    color: bool | None = None,
) -> str:
    """The comparisons as text that ends with a line break, `short` with their main metrics alone. `width` and `color`
    concern terminals only (see `render_tables`).
    """
    comparisons = [comparison.short for comparison in comparisons] if short else comparisons
    if fmt == "json":
        return dump_json("comparison", {"comparisons": comparison_json(comparisons)})
    if fmt == "csv":
        return comparison_csv(comparisons)
    return render_tables(comparison_tables(comparisons), fmt, width=width, color=color)


def render_tables(
    tables: Sequence[Table],
    fmt: Literal["terminal", "markdown"],
    *,
    width: int | None = None,
    color: bool | None = None,
) -> str:
    """Tables for people. By default as wide as the terminal (120 columns where there is none), in colour only
    on a terminal whose user has not set NO_COLOR.
    """
    if fmt == "markdown":
        return render_markdown(tables)
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return render_terminal(tables, width or shutil.get_terminal_size((120, 24)).columns, color)


def render_paper(table: PaperTable, fmt: PaperFormat) -> str:
    """A table for a paper as text that ends with a line break, the same for the same table."""
    renderers = {
        "latex": render_latex,
        "markdown": render_paper_markdown,
        "html": render_html,
        "csv": render_paper_csv,
    }
    return renderers[fmt](table)
