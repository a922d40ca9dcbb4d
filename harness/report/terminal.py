"""Tables for a terminal, laid out for its width: on one line if there is room, else intervals under the
values, else cut in parts.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from harness.report.table import SUPERSCRIPT, Cell, Section, Table, lines_of, plain

_STYLES = {"plain": "", "good": "green", "bad": "red", "muted": "dim"}
_GAP = 2
_ANY = 1000
_LABEL = 24
_HEADING = 14  # columns; a longer heading breaks if the figures below it are not wider


def render_terminal(tables: Sequence[Table], width: int, color: bool) -> str:
    """The tables as text of at most `width` columns, with ANSI colours if `color`. No number is ever cut
    short.
    """
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
    )
    for number, table in enumerate(tables):
        if number:
            console.print()
        _print(console, table, width)
    text = file.getvalue()
    return "".join(line.rstrip() + "\n" for line in text.split("\n")[:-1]) if not color else text


def _print(console: Console, table: Table, width: int) -> None:
    console.print(Text(plain(table.title), style="bold"))
    for line in lines_of(table.caption):
        console.print(Text(line, style="dim"))
    for stacked, widths, part in _layout(table, width):
        console.print()
        # Rather too wide for a very narrow terminal than a number cut short.
        console.width = width if table.prose else max(width, sum(widths))
        console.print(_grid(part, stacked, widths))
        console.width = width
    if table.notes:
        console.print()
    for line in lines_of(table.notes):
        mark, _, rest = line.partition(" ") if line[0] in SUPERSCRIPT else ("•", "", line)
        style = "bold red" if line.startswith(("FAILED", "WARNING")) else ""
        note = RichTable.grid(padding=(0, 1))
        note.add_row(Text(mark, style=style), Text(rest, style=style))
        console.print(note)
    if table.verdict:
        console.print()
    for line in lines_of(table.verdict):
        console.print(Text(line, style="bold"))


def _layout(table: Table, width: int) -> list[tuple[bool, list[int], Table]]:
    """The parts to print: whether intervals stand under the values, the widths of the columns, the part."""
    for stacked, label in ((False, _ANY), (True, _ANY), (True, _LABEL)):
        widths = _widths(table, stacked, label)
        if table.prose or sum(widths) - _GAP <= width:
            return [(stacked, widths, table)]
    fixed = sum(widths[: table.pinned])
    parts: list[list[int]] = [[]]
    for start in range(table.pinned, len(widths), table.together):
        columns = range(start, min(start + table.together, len(widths)))
        if parts[-1] and fixed + sum(widths[column] for column in (*parts[-1], *columns)) - _GAP > width:
            parts.append([])
        parts[-1] += columns
    chosen = [[*range(table.pinned), *part] for part in parts]
    return [(True, [widths[column] for column in part], _columns(table, part)) for part in chosen]


def _columns(table: Table, indices: Sequence[int]) -> Table:
    sections = tuple(
        Section(
            tuple(section.heading[i] for i in indices),
            tuple(tuple(row[i] for i in indices) for row in section.rows),
        )
        for section in table.sections
    )
    return replace(table, columns=tuple(table.columns[i] for i in indices), sections=sections)


def _widths(table: Table, stacked: bool, label: int) -> list[int]:
    """What each column needs, the gap to the next one included; a long heading may break, and labels from
    `label` columns on.
    """
    widths = []
    for index, column in enumerate(table.columns):
        cells = [row[index] for section in table.sections for row in section.rows]
        words = [cell_len(section.heading[index]) for section in table.sections]
        text = max((cell_len(plain(cell.text)) for cell in cells), default=0)
        detail = max((cell_len(cell.detail) for cell in cells), default=0)
        body = max(text, detail) if stacked else text + (detail + 1 if detail else 0)
        if index == 0:
            body = min(body, label)
        widths.append(max(body, min(cell_len(plain(column)), _HEADING), *words, 1) + _GAP)
    return widths


def _grid(table: Table, stacked: bool, widths: list[int]) -> RichTable:
    grid = RichTable(
        box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=any(table.columns), header_style="bold"
    )
    for column, width in zip(table.columns, widths, strict=True):
        grid.add_column(
            Text(plain(column)), width=None if table.prose else width - _GAP, overflow="fold", vertical="top"
        )
    for section in table.sections:
        if any(section.heading):
            grid.add_row(*(_rule(word, width - _GAP) for word, width in zip(section.heading, widths, strict=True)))
        for row in section.rows:
            grid.add_row(*(_text(cell, index, table, stacked) for index, cell in enumerate(row)))
    return grid


def _rule(word: str, width: int) -> Text:
    """A thin line that begins with a word, if there is one."""
    word = f"{plain(word)} " if word else ""
    return Text.assemble((word, "bold"), ("─" * (width - cell_len(word)), "dim"))


def _text(cell: Cell, index: int, table: Table, stacked: bool) -> Text:
    """A cell's text; on one line the values of a column are padded so that its intervals start below one
    another.
    """
    text = plain(cell.text)
    style = _STYLES[cell.tone]
    if not cell.detail:
        return Text(text, style=style)
    if stacked:
        return Text.assemble((text, style), ("\n" + cell.detail, "dim"))
    longest = max(cell_len(plain(row[index].text)) for section in table.sections for row in section.rows)
    return Text.assemble((text + " " * (longest - cell_len(text)), style), (" " + cell.detail, "dim"))
