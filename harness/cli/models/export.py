"""`harness models export`: a model of the user's own as a file that `harness run` measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("source", metavar="MODULE:FUNCTION")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="FILE.pte for ExecuTorch, FILE.pt2 for PyTorch, FILE.onnx for ONNX Runtime, FILE.xml for OpenVINO.",
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "int8", "int4")),
    default="fp32",
    show_default=True,
    help="Of the weights of linear layers and convolutions, rounded to nearest; int8 and int4 of a .pte only.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Samples of what the model sees (.npz or .npy): the file is compared with the model on these too.",
)
def export(**options: Any) -> None:
    """Write a torch.nn.Module as the file of a runtime, checked against the module, and print its path.

    The function (of a module, or FILE.py:FUNCTION) takes nothing and returns the model and a tuple of input tensors to
    trace it with; then, if wanted, torch.export's dynamic shapes, and a dictionary of the values of constant methods,
    such as get_vocab_size of a language model.

    \b
    harness models export net.py:trained --output net.pte
    harness models export net.py:trained --output net4.pte --precision int4
    harness models export net.py:trained --output net.onnx
    harness run -t x86 -m net.pte -m net4.pte -m net.onnx
    """
    from harness.cli.models import exporting

    exporting.export(**options)
