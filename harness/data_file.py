"""Weights that lie in a file of their own next to their program, under a name that its runtime knows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.errors import ModelError
from harness.manifest import sha256_file
from harness.runtime import weight_files


def find_data_file(program: Path, *, needed: bool = False) -> Path | None:
    """The file of weights next to `program` under the name that belongs to it alone; where one is `needed`, also under
    a name that an exporter gives the weights of any program. None where there is none and none is needed.

    Raises ModelError where one is needed and there is none.
    """
    names = weight_files(program)
    for file in names if needed else names[:1]:
        if file.is_file():
            return file
    if not needed:
        return None
    raise ModelError(
        f"The weights of {program.name} are in a file of their own, and there is none next to it "
        f"({' or '.join(file.name for file in names) or 'under no name that harness knows'}).",
        "Give it with --data-file.",
    )


def model_hash(program_sha256: str, data_file: Path | None, method: str | None = None) -> str:
    """What tells a model from others: the sha256 of its program, or where its weights lie in a file of their own or one
    of several methods is meant, one of all of these. Raises OSError if the weights cannot be read.
    """
    parts = [
        program_sha256,
        *([f"weights {sha256_file(data_file)}"] if data_file is not None else []),
        *([f"method {method}"] if method is not None else []),
    ]
    return program_sha256 if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()
