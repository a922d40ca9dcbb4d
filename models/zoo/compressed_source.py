"""A model that is compressed by name or as a function of the user's, and the file that is written of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.atomic_files import replacing_files, unwritable
from harness.durations import OnStep
from harness.errors import UsageError
from harness.manifest import Manifest, write_manifest
from harness.models.compress import packed
from harness.models.compress.apply import Compressed, apply_method
from harness.models.compress.calibration import calibration_of
from harness.models.compress.method import Method, Options
from harness.models.compress.user_module import load_function, read_samples
from harness.models.zoo.artifacts import known
from harness.models.zoo.compressing import build_file, compress_named, compressed_manifest
from harness.outside_files import write_whole

MOST_CHECKED = 8
"""Batches of the calibration on which a program is compared with its model."""
ELSEWHERE = "Name another file with --output."


@dataclass(frozen=True)
class CompressedModel:
    """A compressed model, its parent, and how its program is written and described."""

    compressed: Compressed
    parent: nn.Module
    write: Callable[[Path], Manifest]


def compress_source(
    source: str, method: Method[Any], options: Options, calibration: Path | None, on_step: OnStep
) -> CompressedModel:
    """Compress `source`: a name of the zoo, or `MODULE:FUNCTION`. Raises UsageError where it is neither, or where a
    model of the zoo is given a `calibration`.
    """
    if not known(source):
        return _of_user(source, method, options, calibration, on_step)
    if calibration is not None:
        raise UsageError(f"{source} is calibrated on its training text.", "Leave out --calibration.")
    return _of_zoo(source, method, options, on_step)


def _of_zoo(name: str, method: Method[Any], options: Options, on_step: OnStep) -> CompressedModel:
    compressed, parent, record = compress_named(name, method, options, on_step)

    def write(path: Path) -> Manifest:
        return build_file(path, path.stem, compressed, record, on_step)

    return CompressedModel(compressed, parent, write)


def _of_user(source: str, method: Method[Any], options: Options, file: Path | None, on_step: OnStep) -> CompressedModel:
    from harness.models.export.pte_module import export_module_pte, precision_of  # late: not needed for weights at rest

    on_step("reading the model")
    model = load_function(source)
    samples = None if file is None else read_samples(file, model)
    on_step(f"compressing by {method.name}")
    compressed = apply_method(model.module, method, options, None if samples is None else calibration_of(samples))

    def write(path: Path) -> Manifest:
        batches = traced_batches(source, model.inputs, samples)
        checked = export_module_pte(compressed, model.module, path, batches, model.dynamic_shapes, on_step)
        return compressed_manifest(path, path.stem, source, compressed, precision_of(compressed), checked)

    return CompressedModel(compressed, model.module, write)


def traced_batches(
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


def write_compressed(made: CompressedModel, output: Path) -> None:
    """The program and its manifest, or the weights; nothing where something fails."""
    if output.suffix == ".safetensors":
        write_whole(output, packed.encoded(made.compressed, made.parent), ELSEWHERE)
        return
    try:
        with replacing_files(output.parent, last=output.name) as scratch:
            write_manifest(scratch / output.name, made.write(scratch / output.name))
    except OSError as error:
        raise unwritable(output, error, ELSEWHERE, UsageError) from error
