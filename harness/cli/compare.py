"""`harness compare`: models side by side, from what was stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli._options import reading_options, short_option

if TYPE_CHECKING:
    from harness.report.rendering import Format


@click.command(short_help="Set measured models side by side.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@reading_options
@short_option
def compare(
    models: tuple[str, ...],
    results: Path,
    session: str,
    baseline: str | None,
    fmt: Format,
    as_json: bool,
    allow_different: bool,
    short: bool,
) -> None:
    """Print the table that `harness run` printed, for all models of a session or those named.

    Ratios are above 1x where a model is better than the baseline; n.s. means that the interval contains 1. Several
    conditions of the same models are rows of one table.

    \b
    harness compare --short
    harness compare selfcomp-small baseline-small --baseline baseline-small
    harness compare --session all --format csv > figures.csv
    """
    from harness.analysis.comparison import compare_tables
    from harness.report.rendering import render
    from harness.store.dataset import read_tables

    tables = read_tables(results, session)
    comparisons = compare_tables(tables, models=models, baseline=baseline, allow_different=allow_different)
    click.echo(render(comparisons, "json" if as_json else fmt, short=short), nl=False)
