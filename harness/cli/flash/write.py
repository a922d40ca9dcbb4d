"""`harness flash write`: a file of feed-forward weights as flash wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.flash.names import DTYPES, FORMS, SHAPES


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shape", metavar="WIDTHxNEURONS[xLAYERS]", help=f"Random weights; or a name: {', '.join(SHAPES)}.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Real weights: .safetensors or .npz.")
@click.option("--up", default="blocks.{layer}.ffn.fc.weight", show_default=True, help="Name of [neurons, width].")
@click.option("--down", default="blocks.{layer}.ffn.out.weight", show_default=True, help="Name of [width, neurons].")
@click.option("--form", type=click.Choice(FORMS), default="bundled", show_default=True, help="Rows of a neuron.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Type of a weight.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def write(**options: Any) -> None:
    """Write a neuron FILE: feed-forward weights of given dimensions, or of a checkpoint.

    \b
    harness flash write layer.neurons --shape opt-6.7b-layer --form plain
    harness flash write model.neurons --from model.safetensors --up 'model.decoder.layers.{layer}.fc1.weight' \\
        --down 'model.decoder.layers.{layer}.fc2.weight'
    """
    from harness.cli.flash import writing

    writing.write(**options)
