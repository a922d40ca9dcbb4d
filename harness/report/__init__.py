"""Comparisons and records of what was measured, for people and for programs: one table model, several
renderers.
"""

from harness.analysis.comparison import Comparison, compare_tables
from harness.analysis.published import read_published
from harness.analysis.selection import read_selection
from harness.analysis.spec import TableSpec, parse_column, parse_spec, read_spec
from harness.report.paper.table import PaperTable, paper_table
from harness.report.record import Record, read_record, render_operators, render_record
from harness.report.rendering import FORMATS, PAPER_FORMATS, Format, PaperFormat, render, render_paper
from harness.report.sessions import render_sessions

__all__ = [
    "FORMATS",
    "PAPER_FORMATS",
    "Comparison",
    "Format",
    "PaperFormat",
    "PaperTable",
    "Record",
    "TableSpec",
    "compare_tables",
    "paper_table",
    "parse_column",
    "parse_spec",
    "read_published",
    "read_record",
    "read_selection",
    "read_spec",
    "render",
    "render_operators",
    "render_paper",
    "render_record",
    "render_sessions",
]
