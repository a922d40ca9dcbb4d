"""A table that knows no medium: what a renderer is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["plain", "good", "bad", "muted"]
SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"


@dataclass(frozen=True)
class Cell:
    """`text` may quote foreign names; `detail` (an interval, or what stands for it) is always ours. `value`
    is what the text was made from.
    """

    text: str = ""
    detail: str = ""
    value: Any = None
    tone: Tone = "plain"


@dataclass(frozen=True)
class Section:
    """Rows that belong together; `heading` names them, then says a word for each column ('' for none)."""

    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """Where it is too wide for its medium it may be cut between groups of `together` columns, the first
    `pinned` repeated; a table of `prose` breaks its lines instead.

    `caption` says how the numbers were obtained, `notes` what else to know, each a sentence or a line of
    facts; `verdict` what it comes to, a sentence a line, below all else.
    """

    title: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    caption: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pinned: int = 1
    together: int = 1
    prose: bool = False
    verdict: tuple[str, ...] = ()


def simple_table(
    title: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], notes: tuple[str, ...] = ()
) -> Table:
    """A table of prose in one section from rows of values, as long as `columns`; None is an empty cell."""
    cells = tuple(tuple(Cell("" if value is None else str(value), value=value) for value in row) for row in rows)
    return Table(title, columns, (Section(("",) * len(columns), cells),), notes=notes, prose=True)


def plain(text: str, keep: str = "") -> str:
    """`text` with everything that cannot be printed (escape sequences, line breaks, text direction) written
    out.

    `keep` are characters to leave as they are.
    """
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def lines_of(texts: Iterable[str]) -> list[str]:
    """Sentences for printing: white space, line breaks included, becomes one space."""
    return [plain(" ".join(text.split())) for text in texts if text]
