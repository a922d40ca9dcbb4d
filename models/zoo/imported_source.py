"""A checkpoint of Hugging Face as a program with its manifest, and its tokenizer beside."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.atomic_files import replacing_files, unwritable
from harness.durations import OnStep
from harness.errors import UsageError
from harness.manifest import Manifest, sha256_file, write_manifest
from harness.models.zoo.compressed_source import ELSEWHERE

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


def import_source(folder: Path, output: Path, context: int | None, precision: str, on_step: OnStep) -> Path | None:
    """Write the checkpoint in `folder` to `output`, a `.pte`, and its tokenizer beside it, where `harness run` finds
    it; the path of that, None where the checkpoint has none. Raises as `import_checkpoint`; nothing is written then.
    """
    from harness.models.export.hugging_face import import_checkpoint  # late: it imports ExecuTorch's exporter

    if output.suffix != ".pte":
        raise UsageError(f"{output} is no .pte.", ELSEWHERE)
    try:
        with replacing_files(output.parent, last=output.name) as scratch:
            path = scratch / output.name
            made = import_checkpoint(folder, path, context, precision, on_step)
            manifest = Manifest(
                name=output.stem,
                method="none" if precision == "fp32" else "round-to-nearest",
                artifact_sha256=sha256_file(path),
                artifact_bytes=path.stat().st_size,
                precision=precision,
                parameters=made["parameters"],
                parent=folder.name,
                quality={"difference": made["difference"]},
            )
            write_manifest(path, manifest)
            beside = next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)
            if beside is None:
                return None
            named = f"{output.stem}.{beside.name}"
            shutil.copyfile(beside, scratch / named)
    except OSError as error:
        raise unwritable(output, error, ELSEWHERE, UsageError) from error
    return output.parent / named
