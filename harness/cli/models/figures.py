"""`harness models figures`: the figures of the self-compression article, from the weights and the log of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("name")
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the files. [default: figures-NAME]"
)
@click.option("--format", "formats", default="pdf,svg,png", show_default=True, metavar="LIST", help="Kinds of file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def figures(**options: Any) -> None:
    """Draw how compressed model NAME lost its bits, and what is left of its weights; print the files.

    \b
    harness models figures selfcomp --format svg
    """
    from harness.cli.models import drawing

    drawing.figures(**options)
