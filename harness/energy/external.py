"""An external meter's recording: a CSV file with a column `time` and a column `watts` or `joules`.

`time` is Unix seconds, or ISO 8601 with its zone; `joules` is a running total. Other columns are passed over. The
meter's clock is believed: it must agree with this machine's, whose windows are cut out of the recording.

Columns are separated by commas, and then numbers have decimal points; or by semicolons or tabs, as spreadsheets do
where decimals have commas, and then either mark will do, the same one in all of a column. Whatever could be read in two
ways is refused: every row must have as many columns as the header, or a decimal comma would move its values along.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from harness.energy.series import Series, from_counter, from_power
from harness.energy.source import NoEnergy

# Seconds from 2001 to 2128: what is less counts from the start of a recording, what is more are milliseconds.
_UNIX = (1e9, 5e9)
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# 1.250 may be a thousand and more where whole numbers stand beside it.
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,3}", re.ASCII)
_SAVE_AGAIN = "save it with decimal points, or with semicolons between its columns"


def read_csv(path: Path) -> Series:
    """The recording, in Unix seconds. Raises NoEnergy with one clause of what is wrong with it, and where.

    A last line that has no end yet is still being written, and passed over.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = file.read()
        mark, names = _header(text, path)
        rows = _rows(text, mark, names, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise NoEnergy(f"{path.name} cannot be read ({why})") from error
    kind = next(name for name in ("joules", "watts") if name in names)
    lines = [line for line, _ in rows]
    at_s = _times([row[names.index("time")].strip() for _, row in rows], lines, path)
    values = _numbers([row[names.index(kind)].strip() for _, row in rows], lines, mark, kind, path)
    for line, (before, after) in zip(lines[1:], itertools.pairwise(at_s), strict=True):
        if after <= before:
            raise NoEnergy(f"{path.name}, line {line}: the time does not rise")
    if kind == "joules":
        return from_counter(at_s, values, None, f"joules of {path.name}")
    if values and max(values) < 0:
        raise NoEnergy(
            f"{path.name}, line {lines[0]}: {values[0]:g} watts, and none of the file above zero; "
            "is the meter connected the other way round?"
        )
    return from_power(at_s, values)


def _header(text: str, path: Path) -> tuple[str, list[str]]:
    """What separates the columns, and their names in small letters, without spaces and `#`.

    It is the only mark that separates the two names that are needed. Raises NoEnergy where none does.
    """
    first = next(iter(io.StringIO(text, newline="")), "")
    for mark in _SEPARATORS:
        names = _names(first, mark)
        if "time" in names and not {"joules", "watts"}.isdisjoint(names):
            twice = next((name for name in names if name and names.count(name) > 1), None)
            if twice is not None:
                raise NoEnergy(f"{path.name}, line 1: the header names the column {twice!r} twice; leave one of them")
            return mark, names
    column_names = ", ".join(_names(first, ",")) or "nothing"
    raise NoEnergy(f"{path.name} must have columns time and watts (or joules), and has {column_names}")


def _names(line: str, mark: str) -> list[str]:
    return [name.strip().lower().lstrip("#").strip() for name in next(csv.reader([line], delimiter=mark), [])]


def _rows(text: str, mark: str, names: Sequence[str], path: Path) -> list[tuple[int, list[str]]]:
    """The rows below the header that are complete, with the numbers of their lines. Blank lines are none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    numbered_rows = [(reader.line_num, row) for row in reader if row][1:]
    if numbered_rows and not text.endswith(("\n", "\r")):
        numbered_rows.pop()
    for line, row in numbered_rows:
        if len(row) != len(names):
            hint = f"; where decimals have commas, {_SAVE_AGAIN}" if mark == "," and len(row) > len(names) else ""
            plural = "" if len(row) == 1 else "s"
            raise NoEnergy(f"{path.name}, line {line}: {len(row)} column{plural}, of {len(names)} in the header{hint}")
        if any(cell.strip() for name, cell in zip(names, row, strict=True) if not name):
            raise NoEnergy(f"{path.name}, line {line}: a value in a column without a name; name it in the header")
    return numbered_rows


def _times(cells: Sequence[str], lines: Sequence[int], path: Path) -> list[float]:
    """Unix seconds. A number of seconds has at most one mark, and no thousands: here either mark is a decimal's."""
    times = []
    for cell, line in zip(cells, lines, strict=True):
        number = cell.replace(",", ".")
        if _NUMBER.fullmatch(number):
            seconds = float(number)
        else:
            try:
                moment = datetime.fromisoformat(cell)
            except ValueError as error:
                raise NoEnergy(f"{path.name}, line {line}: {cell[:40]!r} is no time") from error
            if moment.tzinfo is None:
                raise NoEnergy(f"{path.name}, line {line}: the time {cell[:40]!r} has no zone")
            seconds = moment.timestamp()
        if not _UNIX[0] <= seconds <= _UNIX[1]:
            raise NoEnergy(f"{path.name}, line {line}: the time {cell[:40]!r} is not in Unix seconds")
        times.append(seconds)
    return times


def _numbers(cells: Sequence[str], lines: Sequence[int], mark: str, kind: str, path: Path) -> list[float]:
    """The values of a column, which has one decimal mark if any."""
    point, comma = (next((n for n, cell in enumerate(cells) if each in cell), None) for each in ".,")
    for cell, line in zip(cells, lines, strict=True):
        if "," in cell and mark == ",":
            raise NoEnergy(f"{path.name}, line {line}: {cell[:40]!r} has a comma; {_SAVE_AGAIN}")
        number = cell.replace(",", ".")
        if not _NUMBER.fullmatch(number) or not math.isfinite(float(number)):
            raise NoEnergy(f"{path.name}, line {line}: {cell[:40]!r} are no {kind}")
    if point is not None and comma is not None:
        at = max(point, comma)
        raise NoEnergy(
            f"{path.name}, line {lines[at]}: {cells[at][:40]!r}, where the {kind} above have another decimal mark; "
            "save it with one of them"
        )
    marked = [cell for cell in cells if "," in cell or "." in cell]
    if mark != "," and marked and all(map(_GROUPED.fullmatch, marked)) and any(map(_WHOLE.fullmatch, cells)):
        at = cells.index(marked[0])
        raise NoEnergy(
            f"{path.name}, line {lines[at]}: {marked[0]!r} may be a thousand and more, or a decimal; "
            "save it without marks between thousands"
        )
    return [float(cell.replace(",", ".")) for cell in cells]
