"""`harness models compress`: a trained model, of the zoo or the user's own, made smaller by a method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("source", required=False)
@click.option("--method", help="How; `--list` shows all of them.")
@click.option("--bits", type=int, help="Bits of a weight, where the method has a choice.")
@click.option("--group", type=int, help="Inputs of a channel that share a step; default: the method's own.")
@click.option(
    "--option", "given", multiple=True, metavar="NAME=VALUE", help="Another option of the method, as often as needed."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Samples of what the model will see (.npz or .npy), for methods that need some. A model of the zoo has its "
    "training text.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="FILE.pte for `harness run`, or FILE.safetensors: the weights at rest. Without it only the record is shown.",
)
@click.option("--list", "listed", is_flag=True, help="List the methods and their options.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compress(**options: Any) -> None:
    """Compress a trained model, and write it as a program or as weights at rest.

    SOURCE is a model of `harness models list`, or MODULE:FUNCTION (FILE.py:FUNCTION) of your own: a function without
    arguments that returns a torch.nn.Module, or it and a tuple of input tensors to trace it with.

    \b
    harness models compress --list
    harness models compress baseline --method gptq --bits 4 --output gptq.pte
    harness models compress net.py:trained --method awq --calibration samples.npz --output awq.pte
    """
    from harness.cli.models import compressing

    compressing.compress(**options)
