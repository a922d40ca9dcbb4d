"""What `harness models pack` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness.atomic_files import unwritable
from harness.errors import UsageError
from harness.models.zoo import storage
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED
from harness.models.zoo.sizes import Part, parts
from harness.report.machine import dump_json


def pack(name: str, weights: Path | None, entropy: bool, output: Path | None, as_json: bool) -> None:
    """Pack the trained weights of a model for storage, and show the bytes of each part."""
    recipe, folder = packaged().find(name), weights or PACKAGED
    state, codes, record = storage.read_weights(folder, recipe.name)
    storage.loaded(state, recipe.architecture, folder / f"{recipe.name}.safetensors")
    file = storage.encoded(state, codes, entropy_coded=entropy)
    packed = parts(file)
    uncoded = parts(storage.encoded(state, codes)) if entropy else packed
    before, after = uncoded[-1].stored_bytes, packed[-1].stored_bytes
    path = None if output is None else output / f"{recipe.name}.safetensors"
    if output is not None:
        try:
            storage.rewrite(output, file, record)
        except OSError as error:
            raise unwritable(output, error, "Name another folder with --output.", UsageError) from error
    if as_json:
        facts = {"model": recipe.name, "path": None if path is None else str(path), "bytes": after}
        rows = [asdict(part) | {"bytes": part.stored_bytes, "fp32_bytes": part.fp32_bytes} for part in packed]
        click.echo(dump_json("packing", {**facts, "bytes_without_entropy_coding": before, "parts": rows}), nl=False)
        return
    Console().print(_table(packed))
    if entropy:
        click.echo(f"Entropy coding saves {before - after:,} of {before:,} bytes ({(before - after) / before:.1%}).")
    if path is not None:
        click.echo(path)


def _table(packed: list[Part]) -> Table:

    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("part", no_wrap=True)
    for heading in ("weights", "levels", "headers", "exponents", "float16", "bytes", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in packed:
        sorts = (part.levels_bytes, part.headers_bytes, part.exponents_bytes, part.float16_bytes)
        counts = [f"{count:,}" for count in (part.weights, *sorts, part.stored_bytes)]
        table.add_row(part.part, *counts, f"{part.fp32_bytes / part.stored_bytes:.1f}x" if part.weights else "–")
    return table
