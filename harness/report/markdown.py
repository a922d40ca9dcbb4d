"""Tables as GitHub-flavoured Markdown; names from outside cannot become markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.report.table import Cell, Table, lines_of, plain

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#$!])")


def render_markdown(tables: Sequence[Table]) -> str:
    """The tables one after the other, each a heading, a caption, a table and a list of notes."""
    return "\n".join(_table(table) for table in tables)


def escape(text: str) -> str:
    """`text` as Markdown that shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", plain(text).replace("&", "&amp;")).replace(r"\<", "&lt;").replace(r"\>", "&gt;")


def _table(table: Table) -> str:
    lines = [f"### {escape(table.title)}", ""]
    lines += ["  \n".join(escape(line) for line in lines_of(table.caption)), ""] if table.caption else []
    lines += [_row([escape(column) for column in table.columns]), _row(["---"] * len(table.columns))]
    for section in table.sections:
        if section.heading[0]:
            name, *words = section.heading
            lines.append(_row([f"**{escape(name)}**", *(f"*{escape(word)}*" if word else "" for word in words)]))
        lines += [_row([_cell(cell) for cell in row]) for row in section.rows]
    notes = [f"- {escape(line)}" for line in lines_of(table.notes)]
    verdict = [f"**{escape(line)}**" for line in lines_of(table.verdict)]
    parts = [lines, notes, *([line] for line in verdict)]
    return "\n".join(line for part in parts if part for line in (*part, ""))


def _cell(cell: Cell) -> str:
    return f"{escape(cell.text)} {cell.detail}".strip()


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
