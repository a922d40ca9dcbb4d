"""`harness report`: everything that is known of a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli._options import reading_options

if TYPE_CHECKING:
    from harness.report import Format


@click.command(short_help="Print the full record of a session.")
@reading_options
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
