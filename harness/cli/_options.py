"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.cli import _hints

Command = TypeVar("Command", bound=Callable[..., Any])


class _Results(click.Path):
    """A folder, or the URI of a bucket."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from harness.errors import UsageError
        from harness.store.place import is_local, results_folder

        folder = results_folder(value)
        if not is_local(folder):
            return folder
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(
                f"The name of the results folder {value} is not UTF-8, so that Parquet files in it cannot be opened.",
                "Give another folder with --results.",
            ) from None
        return super().convert(value, param, ctx)


def _remembered(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    _hints.remember(value)
    return value


results_option = click.option(
    "--results",
    type=_Results(path_type=Path, file_okay=False),
    default=Path(_hints.DEFAULT),
    show_default=True,
    envvar=_hints.VARIABLE,
    show_envvar=True,
    callback=_remembered,
    help="The folder of the Parquet tables, or a bucket: s3://BUCKET/PREFIX.",
)
format_option = click.option(
    "--format",
    "fmt",
    type=click.Choice(("terminal", "markdown", "json", "csv")),
    default="terminal",
    show_default=True,
    help="How to print it.",
)
skip_existing_option = click.option(
    "--skip-existing",
    is_flag=True,
    help="Go on with the newest session that has jobs of most of these models, from this device and these versions: "
    "those that ended well are not run again.",
)
short_option = click.option("--short", is_flag=True, help="Only the main metrics.")
json_option = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")


def energy_options(command: Command) -> Command:
    """What `run` takes for joules."""
    for option in (
        click.option(
            "--energy-csv",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The energy pass with an external meter: its recording, columns time (Unix seconds or ISO 8601 with "
            "zone) and watts or joules. It may grow meanwhile, or be exported at the end, which is waited for.",
        ),
        click.option(
            "--energy",
            is_flag=True,
            help="Measure energy too, in a pass of its own of ten seconds and more a process; `harness targets` says "
            "what it comes from.",
        ),
    ):
        command = option(command)
    return command


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
