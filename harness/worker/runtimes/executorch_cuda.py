"""`.pte` programs that are delegated to a GPU, where this build of ExecuTorch has its delegate."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import find_method
from harness.runtime import LoadedModel, RuntimeCapabilities
from harness.target import Availability
from harness.worker.runtimes import executorch as executorch_runtime
from harness.worker.runtimes.executorch import describe, prepare

__all__ = ["availability", "capabilities", "describe", "load", "name", "prepare", "start"]

name = "executorch-cuda"
capabilities = RuntimeCapabilities(
    formats=(".pte",),
    devices=("cuda",),
    distributions=("executorch",),
    weights=executorch_runtime.WEIGHTS,
    generates=True,
    planned_bytes=True,
)
DELEGATE = "CudaBackend"


def availability() -> Availability:
    """Whether the installed ExecuTorch brings its CUDA delegate, as a wheel for CUDA does."""
    spec = find_spec("executorch")
    folders = spec.submodule_search_locations if spec is not None and spec.submodule_search_locations else ()
    if any((Path(folder) / "lib" / "libexecutorch_backend_cuda.so").exists() for folder in folders):
        return Availability(True)
    return Availability(
        False, "the installed ExecuTorch has no CUDA delegate", "Install a build of ExecuTorch that has it."
    )


def start(device: str) -> dict[str, str]:
    """Import the bindings; the delegate opens the device when it loads a method."""
    return executorch_runtime.start(device)


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Load it. Raises ModelError where its method would run on the processor, which is another target's figure."""
    if DELEGATE not in find_method(describe(path), job.method)["delegates"]:
        raise ModelError(
            f"{path} has nothing for the delegate {DELEGATE}: it would run on the processor.",
            "Give a .pt2, or lower it with ExecuTorch's partitioner for this device.",
        )
    return executorch_runtime.load(path, job, files)
