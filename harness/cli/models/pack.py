"""`harness models pack`: what a model's weights take at rest, part by part, and the file that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("name")
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option("--entropy", is_flag=True, help="Entropy-code the layers that it makes smaller; nothing is lost.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write NAME.safetensors and its record to this folder; without it only the sizes are shown.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pack(**options: Any) -> None:
    """Pack the trained weights of model NAME for storage, and show the bytes of each part and how many times fewer they
    are than in float32.

    The folder written holds the same weights exactly, for `--weights` of `build`, `verify` and `figures`.

    \b
    harness models pack selfcomp --entropy --output packed
    harness models verify selfcomp --weights packed
    """
    from harness.cli.models import packing

    packing.pack(**options)
