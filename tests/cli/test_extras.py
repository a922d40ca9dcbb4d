"""A run without options of theirs imports none of the extras, in no process of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models

EXTRAS = ("pynvml", "mlperf_loadgen", "matplotlib", "altair", "ethosu", "tosa_reference_model", "boto3", "moto")

# torch itself looks for pynvml.
STAND_IN = """
import sys
frame = sys._getframe(1)
while "importlib" in frame.f_code.co_filename:
    frame = frame.f_back
if not frame.f_globals["__name__"].startswith("torch"):
    open({file!r}, "a").write("{name} ")
raise ImportError
"""


def test_a_run_imports_no_extra(home: Home, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = tmp_path / "imported"
    for name in EXTRAS:  # found before the real ones
        (tmp_path / f"{name}.py").write_text(STAND_IN.format(name=name, file=str(imported)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ended = home.harness("run", "-t", "x86", "-m", models.mlp, "-n", "1", *QUICK)
    assert ended.code == 0, ended.err
    assert not imported.exists(), imported.read_text()
    subprocess.run([sys.executable, "-c", f"import {EXTRAS[0]}"], check=False, capture_output=True)
    assert imported.read_text() == f"{EXTRAS[0]} ", "the check itself is broken"
