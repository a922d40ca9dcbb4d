"""Environments of their own, made in a second: all that runs the tests is in them, and packages besides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def make_environment(folder: Path, files: Mapping[str, str] = {}, *, shared: bool = True) -> Path:
    """The python executable of a new environment with these files among its packages; with all packages of the tests'
    own environment behind them, where they are `shared`.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, text in files.items():
        path = packages / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    if shared:
        own = [entry for entry in sys.path if Path(entry).name == "site-packages"]
        lines = [f"import site; site.addsitedir({entry!r})" for entry in own]
        (packages / "shared.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin" / "python"


def distribution(name: str, version: str, entry_points: str = "") -> dict[str, str]:
    """The files by which pip's database knows a distribution."""
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    return files | ({f"{folder}/entry_points.txt": entry_points} if entry_points else {})
