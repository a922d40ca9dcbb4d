"""The memory pass counts no memory of harness: a real worker of each runtime that does without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from worker.driving import job

from harness.job import Files, request_json

# A worker that cannot import torch, and says at its end what was imported between the idle reading and that.
WORKER = """
import json, sys
sys.modules["torch"] = None
from harness.worker import __main__ as worker, probes

modules, memory = {}, probes.memory

def noting(phase):
    modules.setdefault(phase, set(sys.modules))
    return memory(phase)

probes.memory = noting
worker.main()
late = modules["steady"] - modules["runtime"] if "steady" in modules else {"nothing was measured"}
print(json.dumps(sorted(late)), file=sys.stderr)
"""
# What a library imports itself at its first calls is its own.
LIBRARIES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert"}
FORMATS = {"onnxruntime": (".onnx", "onnx_on_disk"), "openvino": (".xml", "openvino_on_disk")}
FORMATS["litert"] = (".tflite", "litert_on_disk")


def measured(path: Path, **request: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of a memory pass, and the modules that were imported after the idle reading."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", WORKER],
        input=request_json(job(measure="memory", **request), Files(model=str(path))) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in ended.stdout.splitlines()], json.loads(ended.stderr.splitlines()[-1])


@pytest.mark.parametrize("language", [False, True], ids=["plain", "language"])
@pytest.mark.parametrize("runtime", FORMATS)
def test_a_memory_pass_needs_no_torch_and_imports_nothing_of_ours(runtime: str, language: bool, tmp_path: Path) -> None:
    pytest.importorskip(LIBRARIES[runtime])
    suffix, writer = FORMATS[runtime]
    disk = pytest.importorskip(writer)
    path = tmp_path / f"model{suffix}"
    if language:
        disk.write_language_model(path)
        events, late = measured(path, scenario="generate", prompt_tokens=3, new_tokens=2)
    else:
        disk.write_deep(path, width=8, rows=2, layers=1)
        events, late = measured(path, scenario="single-stream")
    assert [event["phase"] for event in events if event["event"] == "memory"] == ["runtime", "load", "first", "steady"]
    assert events[-1]["event"] == "done"
    assert [name for name in late if name.partition(".")[0] != LIBRARIES[runtime]] == []


def test_what_is_wrong_with_given_inputs_is_said_as_in_other_passes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from onnx_on_disk import write_deep

    path = write_deep(tmp_path / "model.onnx", width=8, rows=2, layers=1)
    (tmp_path / "inputs.npz").write_bytes(b"no archive")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "harness.worker"],
        input=request_json(
            job(measure="memory", scenario="single-stream", inputs_sha256="0" * 64),
            Files(model=str(path), inputs=str(tmp_path / "inputs.npz")),
        )
        + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    error = json.loads(ended.stdout.splitlines()[-1])
    assert (error["event"], error["kind"]) == ("error", "usage")
    assert "inputs.npz cannot be read as .npz arrays" in error["message"]
