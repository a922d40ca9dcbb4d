"""The files that nights measured, kept by their hash: a regression is confirmed against the very file that was good."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from harness.atomic_files import is_full, replacing_file, unwritable
from harness.errors import ModelError, StoreError
from harness.manifest import sha256_file
from harness.store.mark import temporary


def keep(results: Path, file: Path) -> str:
    """Copy `file` to `results/artifacts/<sha256><suffix>` unless it is there, and give its sha256.

    A copy and no hard link: a file that is overwritten in place would change under its hash. Raises ModelError where
    the file cannot be read, StoreError where the copy cannot be written.
    """
    try:
        sha256 = sha256_file(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}).", "Check the path and its permissions.") from error
    destination = _path(results, sha256, file.suffix)
    if destination.exists():
        with suppress(OSError):  # it is in use: pruning looks at its age
            os.utime(destination)
        return sha256
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as source, replacing_file(destination, temporary(destination)) as copy:
            shutil.copyfileobj(source, copy)
    except OSError as error:
        stay = "Rows written before are complete and stay."
        if is_full(error):
            todo = f"Free space, or name another folder as `results`. {stay}"
            raise StoreError(f"The disk of {results} is full.", todo) from error
        raise unwritable(destination, error, f"Name another folder as `results`. {stay}", StoreError) from error
    return sha256


def kept_file(results: Path, sha256: str | None) -> Path:
    """The kept file of that hash, checked. Raises ModelError where it is missing or damaged."""
    matches = sorted((results / "artifacts").glob(f"{sha256}.*")) if sha256 else []
    if not matches:
        raise ModelError(
            f"The file {str(sha256)[:12]} is not among those kept in {results / 'artifacts'}.",
            "Nights keep what they measure; do not delete it while an alert is open.",
        )
    if sha256_file(matches[0]) != sha256:
        raise ModelError(f"{matches[0]} is damaged: its hash is not its name.", "Delete it; the next night keeps it.")
    return matches[0]


def _path(results: Path, sha256: str, suffix: str) -> Path:
    return results / "artifacts" / f"{sha256}{suffix}"
