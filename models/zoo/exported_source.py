"""A user's own model as the file of a runtime, in float32 or with its weights rounded."""

from __future__ import annotations

from pathlib import Path

from harness.atomic_files import replacing_files, unwritable
from harness.durations import OnStep
from harness.errors import UsageError
from harness.manifest import Manifest, sha256_file, write_manifest
from harness.models.compress.method import after_training
from harness.models.compress.user_module import load_function, read_samples
from harness.models.zoo.compressed_source import ELSEWHERE, compress_source, traced_batches, write_compressed

BITS = {"int8": 8, "int4": 4}
PRECISIONS = ("fp32", *BITS)


def export_source(source: str, output: Path, precision: str, samples_file: Path | None, on_step: OnStep) -> None:
    """Write the model of `source` (MODULE:FUNCTION) to `output`, in the format of its ending, with its manifest.

    Raises UsageError for what is no such model, format or precision, and ModelError for a file that computes something
    else than the model; nothing is written then.
    """
    from harness.models.export.module_files import SUFFIXES, export_module  # late: it imports ExecuTorch's exporter

    if output.suffix not in SUFFIXES:
        raise UsageError(f"{output} ends in none of {', '.join(SUFFIXES)}.", ELSEWHERE)
    if precision in BITS:
        if output.suffix != ".pte":
            raise UsageError(f"{output.suffix} is written in fp32 only.", "Leave out --precision, or write a .pte.")
        method = after_training("round-to-nearest")
        options = method.parse_text({"bits": str(BITS[precision])})
        write_compressed(compress_source(source, method, options, samples_file, on_step), output)
        return
    on_step("reading the model")
    model = load_function(source)
    batches = traced_batches(source, model.inputs, None if samples_file is None else read_samples(samples_file, model))
    try:
        with replacing_files(output.parent, last=output.name) as scratch:
            path = scratch / output.name
            difference = export_module(model.module, path, batches, model.dynamic_shapes, model.constants, on_step)
            write_manifest(
                path, _manifest(path, source, sum(each.numel() for each in model.module.parameters()), difference)
            )
    except OSError as error:
        raise unwritable(output, error, ELSEWHERE, UsageError) from error


def _manifest(path: Path, source: str, parameters: int, difference: float) -> Manifest:
    return Manifest(
        name=path.stem,
        method="none",
        artifact_sha256=sha256_file(path),
        artifact_bytes=path.stat().st_size,
        precision="fp32",
        parameters=parameters,
        parent=source,
        quality={"difference": difference},
    )
