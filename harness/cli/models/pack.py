"""`harness models pack`: what a model's weights take at rest, part by part, and the file that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from harness.models.zoo.sizes import Part


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
def pack(name: str, weights: Path | None, entropy: bool, output: Path | None, as_json: bool) -> None:
    """Pack the trained weights of model NAME for storage, and show the bytes of each part and how many times fewer they
    are than in float32.

    The folder written holds the same weights exactly, for `--weights` of `build`, `verify` and `figures`.

    \b
    harness models pack selfcomp --entropy --output packed
    harness models verify selfcomp --weights packed
    """
    from dataclasses import asdict

    from rich.console import Console

    from harness.atomic_files import unwritable
    from harness.errors import UsageError
    from harness.models.zoo import storage
    from harness.models.zoo.recipes import packaged
    from harness.models.zoo.records import PACKAGED
    from harness.models.zoo.sizes import parts
    from harness.report.machine import dump_json

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
    from rich.table import Table

    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("part", no_wrap=True)
    for heading in ("weights", "levels", "headers", "exponents", "float16", "bytes", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in packed:
        sorts = (part.levels_bytes, part.headers_bytes, part.exponents_bytes, part.float16_bytes)
        counts = [f"{count:,}" for count in (part.weights, *sorts, part.stored_bytes)]
        table.add_row(part.part, *counts, f"{part.fp32_bytes / part.stored_bytes:.1f}x" if part.weights else "–")
    return table
