"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    envvar="HARNESS_RESULTS",
    show_envvar=True,
    help="The folder of the Parquet tables.",
)
format_option = click.option(
    "--format",
    "fmt",
    type=click.Choice(("terminal", "markdown", "json", "csv")),
    default="terminal",
    show_default=True,
    help="How to print it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")


def reading_options(command: Command) -> Command:
    """What every command takes that reads results: which of them, against what, and how to print it."""
    for option in (
        click.option("--allow-different", is_flag=True, help="Compare runs of different conditions, with a warning."),
        json_option,
        format_option,
        click.option("--baseline", metavar="NAME", help="Set the others against this. [default: the first measured]"),
        click.option(
            "--session",
            default="latest",
            show_default=True,
            metavar="ID|latest|all",
            help="Which session: the beginning of its id, the newest, or all of them together.",
        ),
        results_option,
    ):
        command = option(command)
    return command
