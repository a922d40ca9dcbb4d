"""`harness flash profile`: measure the device at hand, fit the model, save both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.flash.names import DIRECT


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--reader", type=click.Choice(DIRECT), default="threads", show_default=True, help="What reads.")
@click.option("--rounds", type=click.IntRange(min=1), default=31, show_default=True, help="Alternated rounds.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("flash-profile.toml"),
    show_default=True,
    help="The file to save the profile in.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def profile(**options: Any) -> None:
    """Measure random reads of PATH by size and depth, fit the device model, and save it as a profile.

    PATH is a file on the device, or a folder: 256 MiB are written into it, read, and removed.

    \b
    harness flash profile . --output laptop.toml

    That takes a minute or two; with --rounds 11 a third of it, and the model may miss a cell it was not fitted to by a
    third.
    """
    from harness.cli.flash import profiling

    profiling.profile(**options)
