"""One night from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import HarnessError, ModelError, NothingComparable, StoreError
from harness.nightly.artifacts import keep
from harness.nightly.config import NightlyConfig
from harness.nightly.nights import Night, begin, end
from harness.nightly.pruning import prune
from harness.nightly.requests import Measured
from harness.nightly.verdict import Rerun
from harness.nightly.watch import Clock, Watched, act, look
from harness.store.compact import compact
from harness.store.writer import prepare

Measure = Callable[[], Measured]
"""Measures every model of the configuration."""


def utc_now() -> datetime:
    """The clock of this machine, which may be wrong: nights are ordered by their numbers."""
    return datetime.now(UTC)


def run_night(
    config: NightlyConfig, files: Iterable[Path], measure: Measure, rerun: Rerun, now: Clock = utc_now
) -> Watched:
    """Measure a night, write it, and act on what the series then show; `files` are the models, kept by their hash.

    Raises StoreError where the results cannot be written; whatever was written before stays.
    """
    prepare(config.results)
    missing = []
    for file in files:
        try:
            keep(config.results, file)
        except ModelError as error:  # the run will say so too, and the other models are measured
            missing.append(str(error))
    night = _measured(config, begin(config, now()), measure, now)
    try:
        watched = act(look(config), rerun, now)
    except NothingComparable as error:
        watched = Watched(config, night, (), (), (), (error.message,))
    return replace(watched, notes=(*watched.notes, *missing, *_tidied(config.results, now())))


def _tidied(results: Path, now: datetime) -> list[str]:
    """Merge the night's small files, so that a store of years is read in a second, and delete the kept models that no
    series needs any more. What goes wrong here is only reported: the night is stored.
    """
    try:
        compact(results)
        return prune(results, now)
    except StoreError as error:
        return [str(error)]


def _measured(config: NightlyConfig, night: Night, measure: Measure, now: Clock) -> Night:
    try:
        done = measure()
    except HarnessError as error:
        done = Measured(None, failed=True, reason=str(error))
    status = "failed" if done.session_id is None else "partial" if done.failed else "complete"
    return end(config.results, night, now(), status, done.session_id, done.reason)
