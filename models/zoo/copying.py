"""A built file handed out with its manifest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.atomic_files import replacing_files, unwritable
from harness.errors import UsageError
from harness.manifest import manifest_path


def data_file(artifact: Path) -> Path | None:
    """Where the weights of a file lie that has none itself, under the name that its runtime looks for; None for one
    that has its own.
    """
    return artifact.with_suffix(".bin") if artifact.suffix == ".xml" else None


def copy_artifact(artifact: Path, to: Path) -> Path:
    """Copy a file, the file of its weights where there is one, and its manifest to `to`, a file name or a folder;
    returns the copy's path. Raises UsageError.
    """
    target = to / artifact.name if os.path.isdir(to) else to
    data = data_file(artifact)
    if data is not None and target.suffix != artifact.suffix:
        raise UsageError(
            f"{target} cannot be the name of a file whose weights lie next to it.",
            f"Give one that ends in {artifact.suffix}.",
        )
    try:
        with replacing_files(target.parent, last=target.name) as scratch:
            shutil.copyfile(artifact, scratch / target.name)
            if data is not None:
                shutil.copyfile(data, scratch / target.with_suffix(data.suffix).name)
            shutil.copyfile(manifest_path(artifact), manifest_path(scratch / target.name))
    except OSError as error:
        raise unwritable(target, error, "Give another place.", UsageError) from error
    return target
