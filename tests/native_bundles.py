"""One folder of built workers for a whole test session: a build takes ten seconds of a processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_folder(cache: Path, factory: pytest.TempPathFactory) -> Path:
    """Let the cache folder of a test have the session's `native` folder, also across the processes of pytest-xdist."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "native"
    folder.mkdir(exist_ok=True)
    if not (cache / "native").exists():
        (cache / "native").symlink_to(folder)
    return folder
