"""A run without options of theirs imports none of the extras, in no process of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models

EXTRAS = ("pynvml", "mlperf_loadgen", "matplotlib", "altair", "ethosu", "tosa_reference_model", "boto3", "moto")
OTHER_RUNTIMES = ("onnxruntime", "openvino", "ai_edge_litert", "llama_cpp", "gguf", "litert_torch")

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
    for name in (*EXTRAS, *OTHER_RUNTIMES):  # found before the real ones
        (tmp_path / f"{name}.py").write_text(STAND_IN.format(name=name, file=str(imported)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ended = home.harness("run", "-t", "x86", "-m", models.mlp, "-n", "1", *QUICK)
    assert ended.code == 0, ended.err
    assert not imported.exists(), imported.read_text()
    subprocess.run([sys.executable, "-c", f"import {EXTRAS[0]}"], check=False, capture_output=True)
    assert imported.read_text() == f"{EXTRAS[0]} ", "the check itself is broken"


# In a process that finds no distribution of one name.
WITHOUT = """
import importlib.metadata, sys
from pathlib import Path
file, absent = Path(sys.argv[1]), sys.argv[2]
version = importlib.metadata.version
def present(name):
    if name == absent:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = present
from harness.runtime import runtime_for
from harness.errors import UsageError
try:
    runtime_for(file, "cpu")
except UsageError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("suffix", "distribution", "extra"),
    [
        (".onnx", "onnxruntime", "onnx"),
        (".xml", "openvino", "openvino"),
        (".gguf", "llama_cpp_python", "gguf"),
        (".tflite", "ai-edge-litert", "litert"),
    ],
)
def test_without_the_extra_of_a_runtime_the_pip_line_is_shown(
    tmp_path: Path, suffix: str, distribution: str, extra: str
) -> None:
    file = tmp_path / f"m{suffix}"
    file.touch()
    command = [sys.executable, "-P", "-c", WITHOUT, str(file), distribution]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{distribution} is not installed" in printed
    assert f"pip install 'edge-harness[{extra}]'" in printed
