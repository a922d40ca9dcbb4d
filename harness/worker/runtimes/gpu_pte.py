"""`.pte` programs that are delegated to an accelerator, where this build of ExecuTorch has its delegate."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import find_method
from harness.protocol import Describe
from harness.worker.model import Model
from harness.worker.runtimes import executorch as executorch_runtime
from harness.worker.runtimes.accelerator import Accelerator

# ExecuTorch's name of the delegate for a kind of device.
_DELEGATES = {"cuda": "CudaBackend"}


class AcceleratedPte:
    """`executorch_runtime`, for programs that run on the device and nowhere else."""

    def __init__(self, device: Accelerator) -> None:
        self._kind = device.kind

    def versions(self) -> dict[str, str]:
        """ExecuTorch's."""
        return executorch_runtime.versions()

    def prepare(self, path: Path) -> None:
        """Load the libraries of the operators that it calls."""
        executorch_runtime.prepare(path)

    def describe(self, path: Path) -> Describe:
        """What the program says of itself."""
        return executorch_runtime.describe(path)

    def load(self, path: Path, job: Job, files: Files) -> Model:
        """Load it. Raises ModelError where its method would run on the processor, which is another target's figure."""
        delegate = _DELEGATES.get(self._kind, self._kind)
        if delegate not in find_method(self.describe(path), job.method)["delegates"]:
            raise ModelError(
                f"{path} has nothing for the delegate {delegate}: it would run on the processor.",
                "Give a .pt2, or lower it with ExecuTorch's partitioner for this device.",
            )
        return executorch_runtime.load(path, job, files)
