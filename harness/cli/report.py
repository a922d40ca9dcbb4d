"""`harness report`: everything that is known of a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.report import Format

FORMATS = ("terminal", "markdown", "json", "csv")


@click.command(short_help="Print the full record of a session.")
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
    help="The session to report: the beginning of its id, the newest, or all of them together.",
)
@click.option("--baseline", metavar="NAME", help="The model the others are set against. [default: the first measured]")
@click.option(
    "--format",
    "fmt",
    type=click.Choice(FORMATS),
    default="terminal",
    show_default=True,
    help="How to print it; csv has the metrics alone.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--allow-different", is_flag=True, help="Compare runs made under different conditions, with a warning.")
@click.option("--list", "list_sessions", is_flag=True, help="List the sessions that are stored.")
def report(
    results: Path,
    session: str,
    baseline: str | None,
    fmt: Format,
    as_json: bool,
    allow_different: bool,
    list_sessions: bool,
) -> None:
    """Print every metric, every run with its flags, what failed and why, and the state of the device.

    \b
    harness report
    harness report --list
    harness report --session 3f2a --format markdown > report.md
    """
    from harness.report import read_record, render_record, render_sessions

    chosen: Format = "json" if as_json else fmt
    if list_sessions:
        click.echo(render_sessions(results, chosen), nl=False)
        return
    record = read_record(results, session, baseline=baseline, allow_different=allow_different)
    click.echo(render_record(record, chosen), nl=False)
