"""A table for a paper as LaTeX: booktabs rules, siunitx columns and units; no text can become a command."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import groupby

from harness.report.paper.cells import PaperCell
from harness.report.paper.columns import PaperColumn
from harness.report.paper.latex_text import escape
from harness.report.paper.table import PUBLISHED, PaperRow, PaperTable
from harness.report.table import lines_of

_UNITS = {
    "ns": r"\unit{\nano\second}",
    "µs": r"\unit{\micro\second}",
    "ms": r"\unit{\milli\second}",
    "s": r"\unit{\second}",
    "B": r"\unit{\byte}",
    "kB": r"\unit{\kilo\byte}",
    "MB": r"\unit{\mega\byte}",
    "GB": r"\unit{\giga\byte}",
    "dB": r"\unit{\decibel}",
}
# Numbers of a column lie on their decimal signs; a bold one is bold, a plus is kept, a footnote sign stands close.
_SETUP = (
    "mode=match,propagate-math-font=true,reset-text-series=false,reset-math-version=false,"
    "text-series-to-math=true,retain-explicit-plus=true,table-align-text-before=false,table-align-text-after=false"
)
# Characters beyond which words break: in the heading of one column (half as many more for each further one), in the
# name of a row.
_HEADING, _STUB = 14, 28


def render_latex(table: PaperTable) -> str:
    """A `table` environment for a document that loads booktabs, graphicx and siunitx (version 3). A table wider than
    the text is shrunk to its width.
    """
    width = len(table.columns) + 1
    caption = " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in lines_of(_told(table)))
    lines = [
        "% Made by `harness table`. In the preamble: \\usepackage{booktabs,graphicx,siunitx} (siunitx 3)",
        r"\begin{table}",
        r"\centering\small",
        r"\setlength{\belowcaptionskip}{4pt}\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(caption)}}}",
        *([rf"\label{{{table.label}}}"] if table.label else []),
        rf"\sisetup{{{_SETUP}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}l{''.join(_format(table, index) for index in range(width - 1))}@{{}}}}",
        r"\toprule",
        *_heading(table.columns),
        r"\midrule",
        *(line for row in table.measured for line in _row(row, table)),
    ]
    if table.published:
        heading = rf"\multicolumn{{{width}}}{{@{{}}l@{{}}}}{{\emph{{{escape(PUBLISHED)}}}}} \\"
        lines += [r"\midrule", heading, *(line for row in table.published for line in _row(row, table))]
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
    ]
    lines += [rf"{_raised([mark])}\,{escape(sentence)}\par" for sentence, mark in table.marks.items()]
    lines += [rf"{escape(line)}\par" for line in lines_of(table.notes)]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}", ""])


def _told(table: PaperTable) -> list[str]:
    return [text for text in (table.title, table.caption) if text]


def _format(table: PaperTable, index: int) -> str:
    """The column's specification: as many digits before and after the decimal sign as its longest numbers, and room for
    its widest signs.
    """
    cells, column = [row.cells[index] for row in table.rows], table.columns[index]
    numbers = [cell.text for cell in cells if _is_number(cell)]
    if not numbers:
        return "c"
    integer_digits = max(len(number.lstrip("+-").partition(".")[0]) for number in numbers)
    places = max(len(number.partition(".")[2]) for number in numbers)
    sign = "+" if any(number[0] in "+-" for number in numbers) else ""
    before = max((cell.comparator for cell in cells), key=len)
    after = max((_marks(cell, table) for cell in cells if _is_number(cell)), key=len)
    return f"S[table-format={_braced(before, [])}{sign}{integer_digits}.{places}{_braced(column.suffix, after)}]"


def _heading(columns: Sequence[PaperColumn]) -> list[str]:
    """Metrics, then conditions where there are several, then units and comparisons, each over all it concerns."""
    keys = [(column.header, column.name) for column in columns]
    lines = _level(keys, [column.header for column in columns])
    if any(column.group for column in columns):
        groups = [(*key, column.group) for key, column in zip(keys, columns, strict=True)]
        lines += _level(groups, [column.group for column in columns])
    units = [escape(column.unit) if column.unit not in _UNITS else _UNITS[column.unit] for column in columns]
    ends = []
    for column, unit in zip(columns, units, strict=True):
        text = escape(column.word) + (f" ({unit})" if unit else "") if column.word else unit
        ends.append(f"{{{text}}}")
    return [*lines, rf"Model & {' & '.join(ends)} \\"]


def _level(keys: Sequence[object], words: Sequence[str]) -> list[str]:
    """One line of the heading; equal neighbours are one cell with a rule under it."""
    cells, rules, start = [], [], 2
    for _, same in groupby(range(len(keys)), key=lambda index: keys[index]):
        members = list(same)
        text = words[members[0]]
        stacked = _stacked(text, _HEADING + (len(members) - 1) * _HEADING // 2, "[b]{@{}c@{}}")
        cells.append(rf"\multicolumn{{{len(members)}}}{{c}}{{{stacked}}}")
        if len(members) > 1 and text:
            rules.append(rf"\cmidrule(lr){{{start}-{start + len(members) - 1}}}")
        start += len(members)
    return [rf" & {' & '.join(cells)} \\", *(["".join(rules)] if rules else [])]


def _stacked(text: str, width: int, how: str, marks: Sequence[str] = ()) -> str:
    """Lines of at most `width` characters above one another, where a word is not longer, with `marks` at the end."""
    lines = [escape(line) for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)]
    if len(lines) < 2:
        return "".join(lines) + _raised(marks)
    return rf"\begin{{tabular}}{how}" + r" \\ ".join(lines) + _raised(marks) + r"\end{tabular}"


def _row(row: PaperRow, table: PaperTable) -> list[str]:
    """The figures, and under them their intervals."""
    label = _stacked(row.label, _STUB, "[t]{@{}l@{}}", [table.marks[row.source]] if row.source else [])
    pairs = zip(row.cells, table.columns, strict=True)
    cells = [_number(cell, column.suffix, _marks(cell, table)) for cell, column in pairs]
    lines = [rf"{label} & {' & '.join(cells)} \\"]
    if any(cell.interval for cell in row.cells):
        lines.append(rf" & {' & '.join(_interval(cell) for cell in row.cells)} \\[2pt]")
    return lines


def _number(cell: PaperCell, suffix: str, marks: Sequence[str]) -> str:
    if not _is_number(cell):
        text = escape(cell.comparator + cell.text + (suffix if cell.value is not None else ""))
        return f"{{{text}{_raised(marks)}}}" if text else ""
    bold = r"\bfseries " if cell.bold else ""
    return f"{_braced(cell.comparator, [])}{bold}{cell.text}{_braced(suffix, marks)}"


def _interval(cell: PaperCell) -> str:
    if cell.interval is None:
        return ""
    low, high = cell.interval
    return rf"{{\scriptsize {{[}}\num{{{low}}}, \num{{{high}}}{{]}}{' n.s.' if cell.resolved is False else ''}}}"


def _is_number(cell: PaperCell) -> bool:
    """Whether siunitx can align it: not a dash, a range or nothing."""
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", cell.text) is not None


def _marks(cell: PaperCell, table: PaperTable) -> list[str]:
    return [table.marks[sentence] for sentence in (*cell.kinds, *cell.reasons)]


def _raised(marks: Sequence[str]) -> str:
    return rf"\textsuperscript{{{','.join(escape(mark) for mark in marks)}}}" if marks else ""


def _braced(text: str, marks: Sequence[str]) -> str:
    """What siunitx is to leave as it is, beside a number."""
    return f"{{{escape(text)}{_raised(marks)}}}" if text or marks else ""
