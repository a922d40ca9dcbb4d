"""What `harness models compress` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness.cli._waiting import waiting
from harness.errors import UsageError
from harness.models.compress.apply import Compressed
from harness.models.compress.method import Method, Options, TrainedMethod, after_training, find_method, method_names
from harness.models.zoo.compressed_source import ELSEWHERE, compress_source, write_compressed
from harness.report.machine import dump_json


def compress(
    source: str | None,
    method: str | None,
    bits: int | None,
    group: int | None,
    given: tuple[str, ...],
    calibration: Path | None,
    output: Path | None,
    listed: bool,
    as_json: bool,
) -> None:
    """Compress a trained model, and write it as a program or as weights at rest."""
    if listed:
        list_methods(as_json)
        return
    if source is None or method is None:
        raise UsageError("Name a model, and a --method.", "`harness models compress --list` shows the methods.")
    if output is not None and output.suffix not in (".pte", ".safetensors"):
        raise UsageError(f"{output} is neither a .pte nor a .safetensors.", ELSEWHERE)
    chosen = after_training(method)
    options = chosen.parse_text(_texts(given, bits=bits, group=group))
    with waiting(f"models compress {source} {method}", f"compressing {source}") as clock:
        made = compress_source(source, chosen, options, calibration, clock.begin)
        if output is not None:
            write_compressed(made, output)
    if as_json:
        click.echo(dump_json("compression", made.compressed.record.as_json()), nl=False)
        return
    _show(made.compressed)
    if output is not None:
        click.echo(output)


def list_methods(as_json: bool) -> None:
    """Every method with its family, its options and where it is defined."""
    rows = []
    for name in method_names():
        method = find_method(name)
        common = {option.name for option in fields(Options)}
        names = [option.name for option in fields(method.options) if option.name not in common]
        rows.append(
            {
                "method": name,
                "family": method.family,
                "trained": isinstance(method, TrainedMethod),
                "calibrated": isinstance(method, Method) and method.calibrated,
                "options": names,
                "source": method.source,
            }
        )
    if as_json:
        click.echo(dump_json("methods", rows), nl=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "inputs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("options")
    table.add_column("defined in")
    for row in rows:
        needs = "trained" if row["trained"] else "needed" if row["calibrated"] else "–"
        table.add_row(str(row["method"]), needs, ", ".join(map(str, row["options"])), str(row["source"]))  # type: ignore[call-overload]
    Console().print(table)


def _texts(given: Sequence[str], **numbers: int | None) -> dict[str, str]:
    """Options as texts, by name."""
    texts = {name: str(number) for name, number in numbers.items() if number is not None}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is no NAME=VALUE.", "Write --option NAME=VALUE.")
        texts[name] = value
    return texts


def _show(compressed: Compressed) -> None:
    record = compressed.record
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("layer", no_wrap=True)
    for heading in ("weights", "bits", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("runs as", no_wrap=True)
    for layer in record.layers:
        row = (f"{layer.weights:,}", f"{layer.bits_per_weight:.2f}", f"{layer.relative_error:.3f}", layer.runs_as)
        table.add_row(layer.layer, *row)
    Console().print(table)
    named = ", ".join(f"{name}={value}" for name, value in record.options.items())
    click.echo(
        f"{record.method} ({named}): {len(record.layers)} layers, {record.weights:,} weights, "
        f"{record.bits_per_weight:.2f} bits per weight, {record.wall_s:.1f} s."
    )
    for name, reason in record.left.items():
        click.echo(f"Left as it is: {name} ({reason}).")
