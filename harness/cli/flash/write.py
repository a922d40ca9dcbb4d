"""`harness flash write`: a file of feed-forward weights as flash wants them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.flash.io.layout import Dtype, Form, Shape

# Spelled out here too, so that --help imports no numpy.
FORMS = ("bundled", "plain")
DTYPES = ("float16", "int8", "int4")
BITS = {"float16": 16, "int8": 8, "int4": 4}
NAMED = {"opt-6.7b-layer": (4096, 16384, 1)}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shape", metavar="WIDTHxNEURONS[xLAYERS]", help=f"Random weights; or a name: {', '.join(NAMED)}.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Real weights: .safetensors or .npz.")
@click.option("--up", default="blocks.{layer}.ffn.fc.weight", show_default=True, help="Name of [neurons, width].")
@click.option("--down", default="blocks.{layer}.ffn.out.weight", show_default=True, help="Name of [width, neurons].")
@click.option("--form", type=click.Choice(FORMS), default="bundled", show_default=True, help="Rows of a neuron.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Type of a weight.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def write(
    file: Path, shape: str | None, source: Path | None, up: str, down: str, form: Form, dtype: Dtype, as_json: bool
) -> None:
    """Write a neuron FILE: feed-forward weights of given dimensions, or of a checkpoint.

    \b
    harness flash write layer.neurons --shape opt-6.7b-layer --form plain
    harness flash write model.neurons --from model.safetensors --up 'model.decoder.layers.{layer}.fc1.weight' \\
        --down 'model.decoder.layers.{layer}.fc2.weight'
    """
    from dataclasses import asdict

    from harness.cli._waiting import waiting
    from harness.errors import UsageError
    from harness.flash.io import layout
    from harness.flash.io.weights import read_weights
    from harness.report.machine import dump_json

    if (shape is None) == (source is None):
        raise UsageError("A neuron file needs dimensions or weights.", "Give either --shape or --from.")
    with waiting(f"flash write {form} {dtype}", f"writing {file}") as clock:
        clock.begin("encoding and checking rows")
        if source is not None:
            dimensions, rows = read_weights(source, up, down)
        else:
            assert shape is not None
            dimensions = parse_shape(shape, dtype)
            rows = layout.random_rows(dimensions, seed=0)
        layout.write(file, dimensions, form, dtype, rows)
    facts = {"file": str(file), "bytes": file.stat().st_size, "form": form, "dtype": dtype, **asdict(dimensions)}
    if as_json:
        click.echo(dump_json("neuron-file", facts), nl=False)
    else:
        layers = f"{len(dimensions.neurons)} layer" + ("s" if len(dimensions.neurons) > 1 else "")
        click.echo(f"{file}: {layers} of width {dimensions.width}, {form}, {dtype}, {facts['bytes']:,} bytes")


def parse_shape(text: str, dtype: Dtype) -> Shape:
    """Dimensions by name or as WIDTHxNEURONS[xLAYERS]; the attention of such layers, four times width squared weights
    each, is the rest. Raises UsageError.
    """
    from harness.errors import UsageError
    from harness.flash.io.layout import Shape

    parts = text.lower().split("x")
    if text in NAMED:
        width, neurons, layers = NAMED[text]
    elif 2 <= len(parts) <= 3 and all(part.isascii() and part.isdigit() and 0 < int(part) < 2**31 for part in parts):
        width, neurons, layers = (*map(int, parts), 1)[:3]
    else:
        raise UsageError(
            f"There is no shape {text!r}.", f"Write it as 4096x16384x2, or choose from: {', '.join(NAMED)}."
        )
    return Shape(width, (neurons,) * layers, layers * 4 * width**2 * BITS[dtype] // 8)
