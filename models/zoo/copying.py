"""A built file handed out with its manifest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.atomic_files import replacing_files, unwritable
from harness.errors import UsageError
from harness.manifest import manifest_path


def copy_artifact(artifact: Path, to: Path) -> Path:
    """Copy a file and its manifest to `to`, a file name or a folder; returns the copy's path. Raises UsageError."""
    target = to / artifact.name if os.path.isdir(to) else to
    try:
        with replacing_files(target.parent, last=target.name) as scratch:
            shutil.copyfile(artifact, scratch / target.name)
            shutil.copyfile(manifest_path(artifact), manifest_path(scratch / target.name))
    except OSError as error:
        raise unwritable(target, error, "Give another place.", UsageError) from error
    return target
