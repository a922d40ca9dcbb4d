"""What `harness table` prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from harness.analysis.published_figures import read_claims, read_published
from harness.analysis.selection import read_selection
from harness.analysis.spec import parse_column, parse_spec, read_spec
from harness.errors import UsageError
from harness.report.metric_list import render_metrics
from harness.report.paper.table import paper_table
from harness.report.rendering import PaperFormat, render_paper


def table(
    spec: Path | None,
    models: tuple[str, ...],
    columns: tuple[str, ...],
    baseline: str | None,
    sessions: tuple[str, ...],
    title: str | None,
    label: str | None,
    allow_different: bool,
    results: Path,
    fmt: PaperFormat,
    list_columns: bool,
) -> None:
    """Print a table with models as rows and metrics as columns, as SPEC.toml or the options describe it."""
    if list_columns:
        click.echo(render_metrics(), nl=False)
        return

    options: dict[str, Any] = {
        "models": list(models),
        "columns": [parse_column(column) for column in columns],
        "baseline": baseline,
        "select": {"session": list(sessions)} if sessions else None,
        "title": title,
        "label": label,
        "allow_different": allow_different,
    }
    given = {key: value for key, value in options.items() if value}
    if spec is None:
        wanted = parse_spec(given, Path())
    elif shown := [name for name in ("columns", "baseline", "title", "label") if name in given]:
        raise UsageError(
            f"{spec} says what the table shows, and so does --{shown[0].rstrip('s')}.",
            "Write it in the file, or leave the file out; --model and --session may be given with it.",
        )
    else:  # which runs it is about; what is not given is as the file has it
        chosen = parse_spec(given, Path())
        named = {"models": "models", "sessions": "select", "allow_different": "allow_different"}
        wanted = replace(
            read_spec(spec), **{field: getattr(chosen, field) for field, key in named.items() if key in given}
        )
    published, notes = read_published(wanted.published)
    made = paper_table(read_selection(results, wanted), wanted, published, notes, read_claims(wanted.claims))
    click.echo(render_paper(made, fmt), nl=False)
