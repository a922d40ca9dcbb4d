"""The runtime that `docs/adding-a-runtime.md` adds, as it is when pip has installed it."""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "docs" / "code" / "runtime"


def install_fake(folder: Path) -> Path:
    """Into a folder, which is then to be on the path of Python."""
    shutil.copy(SOURCE / "fake_runtime.py", folder)
    information = folder / "harness_fake-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: harness-fake\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[harness.runtimes]\nfake = fake_runtime\n")
    return folder
