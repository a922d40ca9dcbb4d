"""Comparisons and records of what was measured, for people and for programs: one table model, several
renderers.
"""

from harness.report.comparison import Comparison, compare_tables
from harness.report.record import Record, read_record, render_record
from harness.report.rendering import FORMATS, Format, render
from harness.report.sessions import render_sessions

__all__ = [
    "FORMATS",
    "Comparison",
    "Format",
    "Record",
    "compare_tables",
    "read_record",
    "render",
    "render_record",
    "render_sessions",
]
