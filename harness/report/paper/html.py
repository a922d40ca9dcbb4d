"""A table for a paper as HTML: a page of its own, or to be pasted into one; no text can become markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from harness.report.paper.cells import PaperCell
from harness.report.paper.columns import PaperColumn
from harness.report.paper.table import PUBLISHED, PaperRow, PaperTable
from harness.report.table import lines_of

_STYLE = """\
.harness-table { font: 15px/1.4 system-ui, sans-serif; border-collapse: collapse; font-variant-numeric: tabular-nums }
.harness-table caption { text-align: left; padding-bottom: .6em }
.harness-table th { font-weight: 400; text-align: left }
.harness-table th, .harness-table td { padding: .25em .7em; vertical-align: top }
.harness-table thead th { text-align: center; vertical-align: bottom }
.harness-table thead th:first-child { text-align: left }
.harness-table td { text-align: right; white-space: nowrap }
.harness-table sup { line-height: 0 }
.harness-table small { display: block; opacity: .7 }
.harness-table thead { border-top: 2px solid; border-bottom: 1px solid }
.harness-table tbody + tbody { border-top: 1px solid }
.harness-table thead .span { border-bottom: 1px solid }
.harness-table tfoot { border-top: 2px solid; font-size: 85% }
.harness-table tfoot td { text-align: left; white-space: normal }
.harness-table p { margin: .15em 0; max-width: 75em; overflow-wrap: anywhere }"""


def render_html(table: PaperTable) -> str:
    """A complete document with nothing from outside; its `table` element may be used alone."""
    notes = [f"<sup>{mark}</sup> {_text(sentence)}" for sentence, mark in table.marks.items()]
    notes += [escape(line) for line in lines_of(table.notes)]
    caption = f"<strong>{_text(table.title)}</strong>" + (f" {_text(table.caption)}" if table.caption else "")
    named = f' id="{table.label}"' if table.label else ""
    width = len(table.columns) + 1
    lines = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        f"<title>{_text(table.title)}</title>\n<style>\n{_STYLE}\n</style>",
        f'<table class="harness-table"{named}>\n<caption>{caption}</caption>\n<thead>',
        *_heading(table.columns),
        "</thead>\n<tbody>",
        *(_row(row, table) for row in table.measured),
        "</tbody>",
    ]
    if table.published:
        lines.append(f'<tbody>\n<tr><th colspan="{width}" scope="rowgroup"><em>{_text(PUBLISHED)}</em></th></tr>')
        lines += [*(_row(row, table) for row in table.published), "</tbody>"]
    lines.append(f'<tfoot>\n<tr><td colspan="{width}">')
    return "\n".join([*lines, *(f"<p>{note}</p>" for note in notes), "</td></tr>\n</tfoot>\n</table>\n</html>", ""])


def _heading(columns: Sequence[PaperColumn]) -> list[str]:
    """Metrics, then conditions where there are several, then units and comparisons."""
    keys = [(column.name, column.header) for column in columns]
    lines = [_level(keys, [column.header for column in columns])]
    if any(column.group for column in columns):
        groups = [(*key, column.group) for key, column in zip(keys, columns, strict=True)]
        lines.append(_level(groups, [column.group for column in columns]))
    ends = [
        f"{column.word} ({column.unit})" if column.word and column.unit else column.word or column.unit
        for column in columns
    ]
    last = "".join(f'<th scope="col">{_text(end)}</th>' for end in ends)
    return [*lines, f'<tr><th scope="col">Model</th>{last}</tr>']


def _level(keys: Sequence[object], words: Sequence[str]) -> str:
    cells = []
    for _, same in groupby(range(len(keys)), key=lambda index: keys[index]):
        members = list(same)
        span = f' colspan="{len(members)}" class="span"' if len(members) > 1 else ""
        cells.append(f'<th scope="colgroup"{span}>{_text(words[members[0]])}</th>')
    return f"<tr><td></td>{''.join(cells)}</tr>"


def _row(row: PaperRow, table: PaperTable) -> str:
    source = f"<sup>{table.marks[row.source]}</sup>" if row.source else ""
    label = _text(row.label) + (" (baseline)" if row.baseline else "")
    pairs = zip(row.cells, table.columns, strict=True)
    cells = "".join(f"<td>{_cell(cell, column.suffix, table)}</td>" for cell, column in pairs)
    return f'<tr><th scope="row">{label}{source}</th>{cells}</tr>'


def _cell(cell: PaperCell, suffix: str, table: PaperTable) -> str:
    number = escape(cell.comparator + cell.text) + (suffix if cell.value is not None else "")
    marks = ",".join(table.marks[sentence] for sentence in (*cell.kinds, *cell.reasons))
    unresolved = " n.s." if cell.resolved is False else ""
    interval = f"<small>[{cell.interval[0]}, {cell.interval[1]}]{unresolved}</small>" if cell.interval else ""
    return (f"<b>{number}</b>" if cell.bold else number) + (f"<sup>{marks}</sup>" if marks else "") + interval


def _text(text: str) -> str:
    return escape("".join(lines_of([text])))
