"""`harness models verify`: what the records of trained weights claim, computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("names", nargs=-1)
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Tiny Shakespeare; default: $HARNESS_DATA, or the copy that comes with harness.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(**options: Any) -> None:
    """Recompute loss, bits and sparsity of models NAMES (default: all that have weights) and compare with their
    records; the exit code is 1 if any differs.

    \b
    harness models verify selfcomp
    """
    from harness.cli.models import verifying

    verifying.verify(**options)
