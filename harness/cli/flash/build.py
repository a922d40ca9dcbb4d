"""`harness flash build`: a model in the form in which its feed-forward weights lie in flash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.flash.names import DTYPES


@click.command()
@click.argument("name")
@click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Type of a weight.")
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Tiny Shakespeare; default: $HARNESS_DATA, or the copy that comes with harness.",
)
@click.option("--force", is_flag=True, help="Build even if the cached files are current.")
def build(**options: Any) -> None:
    """Build model NAME with its feed-forward weights in files of neurons, or find it in the cache, and print its path.

    \b
    harness flash build relu
    """
    from harness.cli.flash import building

    building.build(**options)
