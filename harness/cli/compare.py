"""`harness compare`: models side by side, from what was stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.report import Format

FORMATS = ("terminal", "markdown", "json", "csv")


@click.command(short_help="Set measured models side by side.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    envvar="HARNESS_RESULTS",
    show_envvar=True,
    help="The folder that holds the results.",
)
@click.option(
    "--session",
    default="latest",
    show_default=True,
    metavar="ID|latest|all",
    help="The session to compare: the beginning of its id, the newest, or all of them together.",
)
@click.option("--baseline", metavar="NAME", help="The model the others are set against. [default: the first measured]")
@click.option(
    "--format",
    "fmt",
    type=click.Choice(FORMATS),
    default="terminal",
    show_default=True,
    help="How to print it.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--allow-different", is_flag=True, help="Compare runs made under different conditions, with a warning.")
def compare(
    models: tuple[str, ...],
    results: Path,
    session: str,
    baseline: str | None,
    fmt: Format,
    as_json: bool,
    allow_different: bool,
) -> None:
    """Print the table that `harness run` printed, for all models of a session or those named.

    Ratios are above 1x where a model is better than the baseline; n.s. means that the interval contains 1.

    \b
    harness compare
    harness compare baseline selfcomp --baseline baseline
    harness compare --session all --format csv > figures.csv
    """
    from harness.report import compare_tables, render
    from harness.store.dataset import read_tables

    tables = read_tables(results, session)
    comparisons = compare_tables(tables, models=models, baseline=baseline, allow_different=allow_different)
    click.echo(render(comparisons, "json" if as_json else fmt), nl=False)
