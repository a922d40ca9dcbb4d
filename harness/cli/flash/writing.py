"""What `harness flash write` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from harness.cli._waiting import waiting
from harness.errors import UsageError
from harness.flash.io import layout
from harness.flash.io.layout import Dtype, Form, Shape
from harness.flash.io.weights import read_weights
from harness.flash.names import SHAPES
from harness.report.machine import dump_json

BITS = {"float16": 16, "int8": 8, "int4": 4}


def write(
    file: Path, shape: str | None, source: Path | None, up: str, down: str, form: Form, dtype: Dtype, as_json: bool
) -> None:
    """Write a neuron FILE: feed-forward weights of given dimensions, or of a checkpoint."""
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

    parts = text.lower().split("x")
    if text in SHAPES:
        width, neurons, layers = SHAPES[text]
    elif 2 <= len(parts) <= 3 and all(part.isascii() and part.isdigit() and 0 < int(part) < 2**31 for part in parts):
        width, neurons, layers = (*map(int, parts), 1)[:3]
    else:
        raise UsageError(
            f"There is no shape {text!r}.", f"Write it as 4096x16384x2, or choose from: {', '.join(SHAPES)}."
        )
    return Shape(width, (neurons,) * layers, layers * 4 * width**2 * BITS[dtype] // 8)
