"""A table for a paper as GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.markdown import escape
from harness.report.paper.cells import PaperCell
from harness.report.paper.columns import PaperColumn
from harness.report.paper.table import PUBLISHED, PaperRow, PaperTable
from harness.report.table import lines_of

# Raised letters that Unicode has: all but q.
_RAISED = dict(zip("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", strict=True))


def render_paper_markdown(table: PaperTable) -> str:
    """A heading, the table, and the notes under it as a list."""
    lines = [f"### {_text(table.title)}", ""]
    lines += [_text(table.caption), ""] if table.caption else []
    lines += [_line(["Model", *(_heading(column) for column in table.columns)])]
    lines += [_line(["---", *("---:" for _ in table.columns)])]
    lines += [_row(row, table) for row in table.measured]
    if table.published:
        lines += [_line([f"*{PUBLISHED}*", *("" for _ in table.columns)])]
        lines += [_row(row, table) for row in table.published]
    lines += ["", *(f"- {_raised(mark)} {_text(sentence)}" for sentence, mark in table.marks.items())]
    return "\n".join([*lines, *(f"- {escape(line)}" for line in lines_of(table.notes)), ""])


def heading(column: PaperColumn) -> str:
    """All that is above a column, on one line: metric, condition, comparison, unit."""
    words = ", ".join(word for word in (column.header, column.group, column.word) if word)
    return f"{words} ({column.unit})" if column.unit else words


def _heading(column: PaperColumn) -> str:
    return _text(heading(column))


def _row(row: PaperRow, table: PaperTable) -> str:
    label = _text(row.label) + (" (baseline)" if row.baseline else "")
    pairs = zip(row.cells, table.columns, strict=True)
    source = _raised(table.marks[row.source]) if row.source else ""
    return _line([label + source, *(_cell(cell, column.suffix, table) for cell, column in pairs)])


def _cell(cell: PaperCell, suffix: str, table: PaperTable) -> str:
    number = _text(cell.comparator) + cell.text + (suffix if cell.value is not None else "")
    marks = ",".join(_raised(table.marks[sentence]) for sentence in (*cell.kinds, *cell.reasons))
    interval = f"[{cell.interval[0]}, {cell.interval[1]}]" if cell.interval else ""
    unresolved = "n.s." if cell.resolved is False else ""
    shown = f"**{number}**" if cell.bold else number
    return " ".join(part for part in (shown + marks, unresolved, interval) if part)


def _raised(mark: str) -> str:
    return "".join(_RAISED.get(char, char) for char in mark)


def _text(text: str) -> str:
    return escape("".join(lines_of([text])))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
