"""What `harness models compress` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from harness.atomic_files import replacing_files, unwritable
from harness.cli._waiting import waiting
from harness.errors import UsageError
from harness.manifest import Manifest, write_manifest
from harness.models.compress import packed
from harness.models.compress.apply import Compressed, apply_method
from harness.models.compress.calibration import calibration_of
from harness.models.compress.method import Method, Options, find_method, method_names
from harness.models.compress.user_module import load_function, read_samples
from harness.models.zoo.artifacts import known
from harness.outside_files import write_whole
from harness.report.machine import dump_json

MOST_CHECKED = 8
"""Batches of the calibration on which a program is compared with its model."""
ELSEWHERE = "Name another file with --output."


@dataclass(frozen=True)
class _Made:
    """A compressed model, its parent, and how its program is written and described."""

    compressed: Compressed
    parent: nn.Module
    write: Callable[[Path], Manifest]


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
    chosen = find_method(method)
    options = chosen.parse_text(_texts(given, bits=bits, group=group))
    with waiting(f"models compress {source} {method}", f"compressing {source}") as clock:
        if known(source):
            if calibration is not None:
                raise UsageError(f"{source} is calibrated on its training text.", "Leave out --calibration.")
            made = _of_zoo(source, chosen, options, clock.begin)
        else:
            made = _of_user(source, chosen, options, calibration, clock.begin)
        if output is not None:
            _write(made, output)
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
                "calibrated": method.calibrated,
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
        needs = "needed" if row["calibrated"] else "–"
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


def _of_zoo(name: str, method: Method[Any], options: Options, on_step: Callable[[str], None]) -> _Made:
    from harness.models.zoo.compressing import build_file, compress_named

    compressed, parent, record = compress_named(name, method, options, on_step)

    def write(path: Path) -> Manifest:
        return build_file(path, path.stem, compressed, record, on_step)

    return _Made(compressed, parent, write)


def _of_user(
    source: str, method: Method[Any], options: Options, file: Path | None, on_step: Callable[[str], None]
) -> _Made:
    from harness.models.export.pte_module import export_module_pte, precision_of
    from harness.models.zoo.compressing import compressed_manifest

    on_step("reading the model")
    model = load_function(source)
    samples = None if file is None else read_samples(file, model)
    on_step(f"compressing by {method.name}")
    compressed = apply_method(model.module, method, options, None if samples is None else calibration_of(samples))

    def write(path: Path) -> Manifest:
        batches = _traced(source, model.inputs, samples)
        checked = export_module_pte(compressed, model.module, path, batches, model.dynamic_shapes, on_step)
        return compressed_manifest(path, path.stem, source, compressed, precision_of(compressed), checked)

    return _Made(compressed, model.module, write)


def _traced(
    source: str, inputs: tuple[Tensor, ...] | None, samples: list[tuple[Tensor, ...]] | None
) -> list[tuple[Tensor, ...]]:
    """The inputs with which a program is traced, then the samples of their shapes on which it is compared."""
    first = inputs if inputs is not None else samples[0] if samples else None
    if first is None:
        raise UsageError(
            f"{source} returns no inputs to trace the model with.",
            "Return the model and a tuple of input tensors, or give --calibration.",
        )
    shapes = [tensor.shape for tensor in first]
    like = [batch for batch in samples or () if [tensor.shape for tensor in batch] == shapes]
    return [first, *like[:MOST_CHECKED]]


def _write(made: _Made, output: Path) -> None:
    """The program and its manifest, or the weights; nothing where something fails."""
    if output.suffix == ".safetensors":
        write_whole(output, packed.encoded(made.compressed, made.parent), ELSEWHERE)
        return
    try:
        with replacing_files(output.parent, last=output.name) as scratch:
            write_manifest(scratch / output.name, made.write(scratch / output.name))
    except OSError as error:
        raise unwritable(output, error, ELSEWHERE, UsageError) from error


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
