"""What `harness compare` prints."""

from __future__ import annotations

from pathlib import Path

import click

from harness.analysis.comparison import compare_tables
from harness.report.rendering import Format, render
from harness.store.dataset import read_tables


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
    """Print the table that `harness run` printed, for all models of a session or those named."""
    tables = read_tables(results, session)
    comparisons = compare_tables(tables, models=models, baseline=baseline, allow_different=allow_different)
    click.echo(render(comparisons, "json" if as_json else fmt, short=short), nl=False)
