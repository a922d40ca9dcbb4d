"""The nights of one configuration: which there were, and which of them count."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path

from harness.nightly.config import NightlyConfig
from harness.nightly.ledger import files_of, read_ledger
from harness.store.writer import write_row

_STARTED = "started"
RECENT = 14
"""Nights that are news: what lies further back is history, and not repeated night after night."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """`session_id` is that of its `harness run`, None where that left none; `reason` says why. `status` is started
    (and not ended), complete, partial (a job failed), or failed. `number` gives the order. `host` is the machine that
    ran it, None of nights from before that was recorded; `reference` the name of the model that time is set against.
    """

    number: int
    config: str
    config_sha256: str
    target: str
    started_at: datetime
    status: str = _STARTED
    session_id: str | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    host: str | None = None
    reference: str | None = None

    @property
    def date(self) -> str:
        """The day on which it began, in UTC, by the clock of that night."""
        return self.started_at.date().isoformat()


def begin(config: NightlyConfig, now: datetime) -> Night:
    """A new night, written as begun, so that one that is cut in the middle is known. Raises StoreError."""
    # From the names of files: a number is taken even where its row cannot be read.
    last = max((int(path.name.split("-")[1]) for path in files_of(config.results, "nights")), default=0)
    night = Night(
        number=last + 1,
        config=config.name,
        config_sha256=config.sha256,
        target=config.target,
        started_at=now,
        host=platform.node() or None,
        reference=None if config.reference is None else config.reference.name,
    )
    _write(config.results, night)
    return night


def end(results: Path, night: Night, now: datetime, status: str, session_id: str | None, reason: str | None) -> Night:
    """The night with its outcome, written. Raises StoreError."""
    night = replace(night, status=status, session_id=session_id, finished_at=now, reason=reason)
    _write(results, night)
    return night


def read_nights(config: NightlyConfig) -> tuple[list[Night], list[str]]:
    """The nights of this configuration in the order of their numbers, and a sentence for each row that cannot be
    read.
    """
    rows, problems = read_ledger(config.results, "nights")
    night_by_number: dict[int, Night] = {}
    for row in rows:
        night = Night(**{field.name: row[field.name] for field in fields(Night)})
        if (night.config, night.target) == (config.name, config.target) and (
            night.number not in night_by_number or night.status != _STARTED
        ):
            night_by_number[night.number] = night
    return [night_by_number[number] for number in sorted(night_by_number)], problems


def counted(nights: Sequence[Night]) -> list[Night]:
    """The nights that count, in the order of their numbers: every complete one, and of a date that has none the last
    partial one.
    """
    by_date: dict[str, list[Night]] = {}
    for night in nights:
        if night.session_id is not None:
            by_date.setdefault(night.date, []).append(night)
    chosen = [
        night
        for same in by_date.values()
        for night in ([each for each in same if each.status == "complete"] or same[-1:])
    ]
    return sorted(chosen, key=lambda night: night.number)


def irregular(nights: Sequence[Night], good: Sequence[Night]) -> list[str]:
    """A sentence for each of the last nights that is not as it should be, `good` being those that count."""
    notes = []
    numbers = {night.number for night in good}
    for before, night in itertools.pairwise([None, *nights[-RECENT:]]):
        assert night is not None
        if night.status == _STARTED:
            cut = "is running, or was cut in the middle," if night is nights[-1] else "was cut in the middle"
            notes.append(f"Night {night.number} ({night.date}) {cut} and does not count.")
        elif night.status == "failed":
            notes.append(f"Night {night.number} ({night.date}) failed and does not count: {night.reason}")
        elif night.session_id is not None and night.number not in numbers:
            chosen = next(other.number for other in reversed(good) if other.date == night.date)
            notes.append(f"Night {night.number} is partial and does not count: night {chosen} of {night.date} does.")
        elif night.status == "partial":
            notes.append(f"Night {night.number} ({night.date}) is partial: {night.reason}")
        if before is not None and night.started_at < before.started_at:
            notes.append(
                f"The clock went backwards: night {night.number} says {night.started_at:%Y-%m-%d %H:%M}, "
                f"after {before.started_at:%Y-%m-%d %H:%M} of night {before.number}; nights are ordered by number."
            )
    return [*notes, *_dates(good), *_hosts(good)]


def _dates(good: Sequence[Night]) -> list[str]:
    """Two complete nights of one date are two nights."""
    dates: dict[str, list[str]] = {}
    for night in good[-RECENT:]:
        dates.setdefault(night.date, []).append(str(night.number))
    return [
        f"{date} has nights {' and '.join(numbers)}: each counts as a night of its own."
        for date, numbers in dates.items()
        if len(numbers) > 1
    ]


def _hosts(good: Sequence[Night]) -> list[str]:
    """Nights of several machines are joined where their fingerprints are equal: machines of a CI service have a new
    name every night.
    """
    hosts: dict[str, list[str]] = {}
    for night in good[-RECENT:]:
        if night.host is not None:
            hosts.setdefault(night.host, []).append(str(night.number))
    if len(hosts) < 2:
        return []
    each = "; ".join(f"{host}: {', '.join(numbers)}" for host, numbers in hosts.items())
    return [
        f"The nights ran on several machines ({each}). They are joined in one series where device and software are the "
        "same; a `reference` in the configuration evens out how fast each machine is."
    ]


def _write(results: Path, night: Night) -> None:
    stage = "1-started" if night.status == _STARTED else "2-ended"
    row = {key: value for key, value in asdict(night).items() if key != "target"}
    write_row(results, "nights", night.date, night.target, f"night-{night.number:06d}-{stage}", row)
