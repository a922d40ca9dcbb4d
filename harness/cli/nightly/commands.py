"""What the commands of `harness nightly` do."""

from __future__ import annotations

import functools
import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

import click

from harness.api.zoo import Zoo
from harness.cli import _hints
from harness.cli._progress import Reporter
from harness.errors import HarnessError, StoreError
from harness.experiment.run import available_target
from harness.experiment.run import run as run_request
from harness.experiment.subjects import find_files
from harness.lease import lease
from harness.nightly import watch
from harness.nightly.config import NightlyConfig, read_config
from harness.nightly.night import run_night, utc_now
from harness.nightly.requests import Measured, measured, night_request, rerun_request
from harness.nightly.summary import render_watched
from harness.nightly.verdict import Pair
from harness.nightly.watch import Watched

# A night may take hours, and one that is held longer than a day should be looked at.
_PATIENCE_S = 86_400.0


def measure_night(config_file: Path, *, quiet: bool) -> Watched:
    """A night from its beginning to its end, with the reruns of what it raises."""
    config = _read(config_file)
    with Reporter(quiet=quiet) as reporter, _alone(config, reporter):
        run = functools.partial(run_request, source=Zoo(), progress=reporter)
        request = night_request(config)
        files = find_files(request.models, available_target(request), Zoo(), reporter.note)

        def measure() -> Measured:
            return measured(run, request, config.results)

        def rerun(pair: Pair, pairs: int) -> str:
            reporter.note(f"measuring again: {' and '.join(pair.names)}, {pairs} processes each, interleaved")
            done = measured(run, rerun_request(config.request, pair, pairs), config.results)
            if done.session_id is None or done.failed:
                raise HarnessError(done.reason or "The rerun left no session.", "The next night tries again.")
            return done.session_id

        watched_files = list(files.values())[: len(config.request.models)]
        return run_night(config, watched_files, measure, rerun)


def look(config_file: Path) -> Watched:
    """What the nights so far say."""
    return watch.look(_read(config_file))


def resolve(config_file: Path, alert_id: str, reason: str | None) -> str:
    """Acknowledge an alert; a sentence that says so."""
    config = _read(config_file)
    with _alone(config, Reporter(quiet=False)):
        alert = watch.resolve(config, alert_id, reason, utc_now)
    return f"Alert {alert.alert_id} is resolved: {alert.reason}."


def show(watched: Watched, summary: Path | None, *, as_json: bool) -> None:
    """Print what the nights say, and add it to the summary. Raises StoreError where that cannot be written."""
    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as file:
                file.write(render_watched(watched, "markdown") + "\n")
        except OSError as error:
            raise StoreError(
                f"The summary {summary} cannot be written ({error.strerror}).", "The night itself is stored."
            ) from error
    click.echo(render_watched(watched, "json" if as_json else "terminal"), nl=False)


def _read(file: Path) -> NightlyConfig:
    config = read_config(file)
    _hints.remember(config.results)
    return config


def _alone(config: NightlyConfig, reporter: Reporter) -> AbstractContextManager[None]:
    """One night at a time in one folder of results: the second waits for the first."""
    folder = hashlib.sha256(str(config.results.resolve()).encode()).hexdigest()[:12]
    return lease(f"nights-{folder}", _PATIENCE_S, functools.partial(reporter.waiting, str(config.results)))
