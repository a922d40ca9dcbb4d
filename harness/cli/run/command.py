"""What `harness run` does with its options: the request, the run with its progress, and what is printed at the end."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.zoo import Zoo
from harness.cli import _hints
from harness.cli._progress import Reporter
from harness.cli.run.options import given_values
from harness.errors import UsageError
from harness.experiment import run as experiment
from harness.experiment.progress import Describing, Event, Measuring
from harness.experiment.request import RunRequest, read_plan
from harness.experiment.run import Outcome
from harness.store.place import results_folder

if TYPE_CHECKING:
    from harness.report.rendering import Format


def request_of(plan: Path | None, results: Path, options: dict[str, Any]) -> tuple[RunRequest, Path]:
    """The request of a command line and of the plan that it names, and the folder for the results: what the command
    line says counts more. Raises UsageError.
    """
    given = given_values(options)
    values = read_plan(plan) if plan is not None else {}
    context = click.get_current_context()
    source = context.get_parameter_source("results")
    if (planned := values.pop("results", None)) is not None and source == click.core.ParameterSource.DEFAULT:
        results = results_folder(planned)
        _hints.remember(results)
    values |= given
    for field, flag in (("target", "--target"), ("models", "--model")):
        if field not in values:
            raise UsageError(f"Missing option {flag}.", "`harness run --help` shows an example.")
    return RunRequest(**values), results


def run(request: RunRequest, results: Path, fmt: Format, *, short: bool, dry_run: bool, quiet: bool) -> None:
    """Run, or say what would be run, and print it in this format. Exits with 1 where a job failed."""
    with Reporter(quiet=quiet) as reporter:
        if dry_run:
            forecast = experiment.forecast(request, results, Zoo(), reporter)
            if forecast is None:
                raise click.exceptions.Exit(1)
            from harness.cli.run.forecast_text import forecast_json, forecast_text

            click.echo(forecast_json(forecast) if fmt == "json" else forecast_text(forecast), nl=False)
            return
        outcome = experiment.run(request, results, Zoo(), _WithReports(reporter))
    try:
        if outcome.succeeded:
            _print(request, outcome, fmt, short=short)
    finally:  # where the table cannot be printed, it can be again
        reporter.summary(outcome)
    if outcome.failures:
        raise click.exceptions.Exit(1)


class _WithReports:
    """Passes events on. pandas takes a second to import: it is imported while workers describe the models, when nothing
    is timed.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._reports = threading.Thread(target=importlib.import_module, args=("harness.report.rendering",))

    def __call__(self, event: Event) -> None:
        if isinstance(event, Describing) and not self._reports.ident:
            self._reports.start()
        if isinstance(event, Measuring):
            self._reports.join()
        self._reporter(event)


def _print(request: RunRequest, outcome: Outcome, fmt: Format, *, short: bool) -> None:
    """The table of what was measured."""
    from harness.analysis.comparison import compare_tables
    from harness.flash.ablation.from_results import read_ablation
    from harness.report import flash_ablation
    from harness.report.record import read_record, render_operators
    from harness.report.rendering import render
    from harness.store.dataset import read_tables

    session = outcome.session_id
    if request.ablate:
        text = flash_ablation.stored(read_ablation(outcome.results, session), fmt == "json")
        click.echo(text, nl=False)
        return
    click.echo(render(compare_tables(read_tables(outcome.results, session)), fmt, short=short), nl=False)
    if request.profile and fmt != "json":
        click.echo("\n" + render_operators(read_record(outcome.results, session), fmt), nl=False)
