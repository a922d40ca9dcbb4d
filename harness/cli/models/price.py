"""`harness models price`: what removing a channel saves on a target, for the penalty of a compression recipe."""

from __future__ import annotations

from typing import Any

import click

from harness.cli._options import results_option
from harness.models.recipe import INTEGERS_PER_CHANNEL


@click.command()
@click.argument("name")
@click.option("--target", "-t", "target_name", required=True, help="Where to measure; `harness targets` lists them.")
@click.option(
    "--precision", type=click.Choice(INTEGERS_PER_CHANNEL), help="Default: int8 for a model in int8, else int4-channel."
)
@click.option(
    "--phase",
    type=click.Choice(("decode", "prefill")),
    default="decode",
    show_default=True,
    help="What is to be fast: a token that is generated, or the prompt before them.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of a worker.")
@click.option(
    "--blocks",
    type=click.IntRange(3),
    default=5,
    show_default=True,
    help="Worker processes per program, interleaved. More of them make the intervals narrower.",
)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def price(**options: Any) -> None:
    """Measure what removing one output channel saves, for each kind of layer in the blocks of model NAME, and print it
    with the table `prices` of a recipe in zoo.toml.

    Programs of NAME's architecture and random weights are made, the whole one and one without half of the channels of
    each kind, and set against each other in the scenario `generate`.

    \b
    harness models price selfcomp --target x86 --blocks 10
    """
    from harness.cli.models import pricing

    pricing.price(**options)
