"""How a file that can be made again is written so that no reader sees half of it, and copied with its manifest."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError
from harness.manifest import manifest_path


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A scratch folder whose files, when the body ends well, replace those of the same names in `folder`, one by one.

    Both lie on one file system, so each replacement is atomic; when the body raises, `folder` is left as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    try:
        yield scratch
        for file in sorted(scratch.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def copy_artifact(artifact: Path, to: Path) -> Path:
    """Copy a file and its manifest to `to`, a file name or a folder; returns the copy's path. Raises UsageError."""
    target = to / artifact.name if os.path.isdir(to) else to
    try:
        with replacing(target.parent) as scratch:
            shutil.copyfile(artifact, scratch / target.name)
            shutil.copyfile(manifest_path(artifact), manifest_path(scratch / target.name))
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}).", "Give another place.") from error
    return target
