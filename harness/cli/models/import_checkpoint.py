"""`harness models import`: a local checkpoint of Hugging Face as a file that `harness run` measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="FILE.pte; the tokenizer is copied next to it.",
)
@click.option(
    "--context", type=int, metavar="TOKENS", help="That the KV cache holds. [default: the model's, at most 2048]"
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "int8", "int4")),
    default="fp32",
    show_default=True,
    help="Of the weights of linear layers, rounded to nearest with a step for each channel.",
)
def import_checkpoint(**options: Any) -> None:
    """Write a causal language model of Hugging Face in FOLDER for ExecuTorch, checked against the checkpoint.

    The folder has config.json, weights in .safetensors, and a tokenizer. Nothing is loaded from the network, pickles
    are not read, and no code of the checkpoint is run. It needs transformers: pip install 'edge-harness[hf]'.

    \b
    harness models import SmolLM2-135M --output smol.pte --context 512
    harness models import SmolLM2-135M --output smol4.pte --context 512 --precision int4
    harness run -t x86 -m smol.pte -m smol4.pte --prompt "Once upon a time"
    """
    from harness.cli.models import importing

    importing.import_checkpoint(**options)
