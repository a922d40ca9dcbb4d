"""`harness report`: everything that is known of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli._options import reading_options


@click.command(short_help="Print the full record of a session.")
@reading_options
@click.option("--list", "list_sessions", is_flag=True, help="List the sessions that are stored.")
@click.option("--text", is_flag=True, help="Print what language models generated instead, prompt by prompt.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page to look at instead: of all sessions, unless --session names one.",
)
@click.pass_context
def report(ctx: click.Context, /, **options: Any) -> None:
    """Print every metric, every run with its flags, what failed and why, and the state of the device.

    \b
    harness report
    harness report --list
    harness report --text
    harness report --session 3f2a --format markdown > report.md
    harness report --html report.html
    """
    from harness.cli import record

    record.report(ctx, **options)
