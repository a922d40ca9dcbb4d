"""`harness models`: the models that harness can make, making them, and training them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.models.compress import compress
from harness.cli.models.export import export
from harness.cli.models.figures import figures
from harness.cli.models.import_checkpoint import import_checkpoint
from harness.cli.models.inspect import inspect
from harness.cli.models.pack import pack
from harness.cli.models.price import price
from harness.cli.models.verify import verify
from harness.models.recipe import INT4, PLAIN_INT4, PRECISIONS
from harness.models.zoo.formats import FORMATS

CHANNELS = ("padded", "exact", "masked")


@click.group()
def models() -> None:
    """List, build, inspect, train and compress models."""


models.add_command(inspect)
models.add_command(verify)
models.add_command(figures)
models.add_command(price)
models.add_command(pack)
models.add_command(compress)
models.add_command(export)
models.add_command(import_checkpoint)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(**options: Any) -> None:
    """List the models: method, bits per weight, recorded loss, and whether they are built.

    \b
    harness models list
    """
    from harness.cli.models import making

    making.list_models(**options)


@models.command()
@click.argument("name")
@click.option(
    "--precision",
    type=click.Choice((*PRECISIONS, INT4)),
    help="Of the weights; default: the model's own (see `list`). int4-channel has a step for each output channel, "
    "int4-group32 for each 32 weights of one; int4 is the kind that the model was trained in, and "
    f"{PLAIN_INT4} for any other model.",
)
@click.option(
    "--format",
    "fmt",
    type=click.Choice((*FORMATS, "cached", "static")),
    help="Kind of file: pt2 takes whole windows, cached (a .pt2 too) generates, onnx is for ONNX Runtime, gguf for "
    "llama.cpp, openvino (an .xml and a .bin) for OpenVINO, tflite for LiteRT, bound for the yardstick of all these.  "
    "[default: pte]",
)
@click.option("--target", "-t", "target_name", help="Build what this target takes, in place of --format.")
@click.option(
    "--channels",
    type=click.Choice(CHANNELS),
    help="Of --format static: dead channels cut and the others filled up to 16 (default), not filled up, or not cut.",
)
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option("--output", type=click.Path(path_type=Path), help="Copy the file (and its manifest) here.")
@click.option("--force", is_flag=True, help="Build even if the cached file is current.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(**options: Any) -> None:
    """Build the file of model NAME from its trained weights, or find it in the cache, and print its path.

    \b
    harness models build baseline --precision int4-channel --output int4.pte
    harness models build baseline --format onnx --precision int8
    harness models build selfcomp --target npu --channels masked --output masked.pt2
    """
    from harness.cli.models import making

    making.build(**options)


@models.command()
@click.argument("name")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Tiny Shakespeare; default: $HARNESS_DATA, or the copy that comes with harness.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for weights, log and checkpoints."
)
@click.option(
    "--resume/--fresh", default=True, show_default=True, help="Go on from a checkpoint in the folder, or not."
)
@click.option("--seed", type=click.IntRange(min=0), help="Of training, in place of the recipe's.")
@click.option(
    "--float32",
    is_flag=True,
    help="Compute in float32 where the recipe has bfloat16: faster on a processor without instructions for it.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Share each batch among so many processes of one thread: one a core is fastest.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of a sole process.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train(**options: Any) -> None:
    """Train model NAME by its recipe in zoo.toml; stopped with Ctrl-C, it can go on from its last checkpoint.

    \b
    harness models train baseline --output runs/baseline --processes 2
    """
    from harness.cli.models import training

    training.train(**options)
