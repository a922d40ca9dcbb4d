"""An external meter's recording: a CSV file with a column `time` and a column `watts` or `joules`.

`time` is Unix seconds, or ISO 8601 with its zone; `joules` is a running total. Other columns are passed over. The
meter's clock is believed: it must agree with this machine's, whose windows are cut out of the recording.
"""

from __future__ import annotations

import csv
import itertools
import math
from datetime import datetime
from pathlib import Path

from harness.energy.series import Series, from_counter, from_power
from harness.energy.source import NoEnergy

# Seconds from 2001 to 2128: what is less counts from the start of a recording, what is more are milliseconds.
_UNIX = (1e9, 5e9)


def read_csv(path: Path) -> Series:
    """The recording, in Unix seconds. Raises NoEnergy with one clause of what is wrong with it, and where."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            names = {name.strip().lower().lstrip("#"): name for name in rows.fieldnames or ()}
            kind = next((name for name in ("joules", "watts") if name in names), None)
            if kind is None or "time" not in names:
                said = ", ".join(names) or "nothing"
                raise NoEnergy(f"{path.name} must have columns time and watts (or joules), and has {said}")
            found = [
                (_time(row[names["time"]], path, line), _number(row[names[kind]], path, line, kind))
                for line, row in enumerate(rows, 2)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise NoEnergy(f"{path.name} cannot be read ({why})") from error
    at_s, values = [at for at, _ in found], [value for _, value in found]
    for line, (before, after) in enumerate(itertools.pairwise(at_s), 3):
        if after <= before:
            raise NoEnergy(f"{path.name}, line {line}: the time does not rise")
    return from_power(at_s, values) if kind == "watts" else from_counter(at_s, values, None, f"joules of {path.name}")


def _time(text: str | None, path: Path, line: int) -> float:
    text = (text or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise NoEnergy(f"{path.name}, line {line}: {text[:40]!r} is no time") from error
        if moment.tzinfo is None:
            raise NoEnergy(f"{path.name}, line {line}: the time {text[:40]!r} has no zone") from None
        seconds = moment.timestamp()
    if not _UNIX[0] <= seconds <= _UNIX[1]:
        raise NoEnergy(f"{path.name}, line {line}: the time {text[:40]!r} is not in Unix seconds")
    return seconds


def _number(text: str | None, path: Path, line: int, kind: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NoEnergy(f"{path.name}, line {line}: {(text or '')[:40]!r} are no {kind}")
    return value
