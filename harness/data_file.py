"""Weights that lie in a file beside their program: ExecuTorch's `.ptd`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.errors import ModelError
from harness.manifest import sha256_file

# As ExecuTorch's exporter names it where nobody chooses a name.
_EXPORTED_NAME = "_default_external_constant.ptd"


def find_data_file(program: Path, *, needed: bool = False) -> Path | None:
    """The `.ptd` beside `program` under its own name; where one is `needed`, also under the name that ExecuTorch's
    exporter writes. None where there is none and none is needed.

    Raises ModelError where one is needed and there is none.
    """
    own = program.with_suffix(".ptd")
    if program.suffix == ".pte" and own.is_file():
        return own
    if not needed:
        return None
    exported = program.with_name(_EXPORTED_NAME)
    if exported.is_file():
        return exported
    raise ModelError(
        f"The weights of {program.name} are in a .ptd file, and there is none beside it ({own.name} or "
        f"{exported.name}).",
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
