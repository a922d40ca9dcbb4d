"""`examples/ncnn_runtime`: a fifth runtime in one short file, whose own contract test passes, as its reader runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "examples" / "ncnn_runtime"


def test_it_is_one_short_file() -> None:
    assert len((SOURCE / "ncnn_runtime.py").read_text().splitlines()) < 150


def test_its_contract_passes(tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="ncnn is not installed (pip install ncnn)")
    shutil.copy(SOURCE / "ncnn_runtime.py", tmp_path)
    information = tmp_path / "harness_ncnn-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: harness-ncnn\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[harness.runtimes]\nncnn = ncnn_runtime\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SOURCE],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "passed" in ended.stdout
    assert "1 skipped" in ended.stdout, "of the contract only what is about language models is left out"
