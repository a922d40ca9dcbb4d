"""How values of a run are written as text: lists and ranges, times, rates, shares, numbers of bytes. Imports nothing
heavy, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

import math
import re

from harness.errors import UsageError

_LONGEST_SWEEP = 10_000
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m|h)", re.ASCII)
_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]i?|)b?", re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_sweep(text: str) -> list[int]:
    """`4`, `1,2,4`, `1-4`, `1-9:2` (from 1 to 9 by 2) or a mix, in the order given, without repetition.

    Raises UsageError for anything else.
    """
    values: list[int] = []
    for part in text.split(","):
        try:
            span, _, step = part.partition(":")
            first, dash, last = span.partition("-")
            start, stop, by = int(first), int(last) if dash else int(first), int(step) if step else 1
        except ValueError as error:
            raise UsageError(f"{text!r} is no list of numbers.", "Write 4, or 1,2,4, or 1-8, or 1-9:2.") from error
        if stop < start or by < 1 or (step and not dash):
            raise UsageError(f"{part!r} is an empty range.", "Write it upwards: 1-8, or 1-9:2.")
        if (stop - start) // by >= _LONGEST_SWEEP:
            raise UsageError(f"{part!r} is a range of more than {_LONGEST_SWEEP} numbers.", "Write a shorter one.")
        values += range(start, stop + 1, by)
    return list(dict.fromkeys(values))


def parse_rates(text: str) -> list[float]:
    """Queries per second: `50`, `0.5,1,2`, `10-50:10`, without repetition. Raises UsageError for anything else."""
    rates: list[float] = []
    for part in text.split(","):
        try:
            rates.append(float(part))
        except ValueError:
            rates += map(float, parse_sweep(part))
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise UsageError(f"{text!r} holds a rate at which nothing arrives.", "Write queries per second, such as 50.")
    return list(dict.fromkeys(rates))


def parse_seconds(text: str) -> float:
    """Seconds from `15ms`, `1.5s`, `30m`, `1h`. Raises UsageError for anything else, and for a time of 0."""
    match = _TIME.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is no time.", "Write it with its unit: 500us, 15ms, 90s, 30m or 1h.")
    return seconds


def parse_bytes(text: str) -> int:
    """A number of bytes from `2000000`, `2MB` or `1.5 GiB`. Raises UsageError for anything else."""
    match = _BYTES.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no number of bytes.", "Write it as 2MB or 512KiB.")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_share(text: str) -> float:
    """0.05 from `5%`, `5 %` or `5`. Raises UsageError for anything else, and outside 0.1 % and 100 %."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0.001 <= share <= 1:
        raise UsageError(f"{text!r} is no share.", "Write a difference between 0.1% and 100%, such as 5%.")
    return share
