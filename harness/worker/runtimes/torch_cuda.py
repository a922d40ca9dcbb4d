"""`.pt2` archives on a GPU through torch: eager or compiled, call by call or as graphs.

What is timed is what a user waits for, as on every target: inputs in the host's memory, copied to the device, the
model, and the wait until its results are there. The device's own time of the model alone, between two events, is
recorded as well (`probe`): the difference is copies and launches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import find_method
from harness.protocol import Describe, Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities
from harness.worker.runtimes import torch as torch_runtime
from harness.worker.runtimes.accelerator import KINDS, Accelerator
from harness.worker.runtimes.device_probe import DeviceProbe
from harness.worker.runtimes.precision import PRECISIONS, convert, dtype_of, set_products
from harness.worker.torch_outputs import leaves

if TYPE_CHECKING:
    from torch import Tensor

Call = Callable[[Sequence["Tensor"]], Sequence["Tensor"]]


class TorchCuda:
    """Calls the program from Python (`eager`, the default), or replays what it launched as CUDA graphs (`graphs`)."""

    name = "torch-cuda"
    capabilities = RuntimeCapabilities(
        formats=(".pt2",),
        devices=("cuda",),
        distributions=("torch",),
        modes=("eager", "graphs"),
        precisions=PRECISIONS,
        compiles=True,
        generates=True,
    )

    def __init__(self, device: Accelerator | None = None) -> None:
        self._device = device or KINDS["cuda"]()
        self.probe = DeviceProbe(self._device)

    def start(self, device: str) -> dict[str, str]:
        """Import torch and open the device of that kind; torch's version and those of what is beneath."""
        if device != self._device.kind:
            self._device = KINDS[device]()
            self.probe = DeviceProbe(self._device)
        versions = torch_runtime.start(device)
        self._device.open()
        return versions | self._device.versions()

    def prepare(self, path: Path) -> None:
        """Register the operators that the archive calls."""
        torch_runtime.prepare(path)

    def describe(self, path: Path) -> Describe:
        """The inputs and outputs of the exported program, and what it says of generating."""
        return torch_runtime.describe(path)

    def load(self, path: Path, job: Job, files: Files) -> LoadedModel:
        """Read the archive, move it to the device, in `job.precision`; compiled or captured at the first call of each
        shape, so that it shows in the first inference.

        Raises ModelError as `torch_runtime.load`.
        """
        import torch
        from torch.export.passes import move_to_device_pass

        torch.set_num_threads(job.threads)
        set_products(job.precision)
        device, kind = self._device, self._device.kind
        start_ns = time.perf_counter_ns()
        program, metadata = torch_runtime.open_program(path)
        opened_ns = time.perf_counter_ns()
        # A pass and not `.to()`: a graph may name the device that it was exported on.
        module: Any = move_to_device_pass(program, kind).module()
        convert(module, job.precision, job.model)
        if job.compile:
            module = torch.compile(module)
        device.synchronize()
        ready_ns = time.perf_counter_ns()

        ask, arrange = torch_runtime.calling(program, module)

        def call(inputs: Sequence[Any]) -> Sequence[Any]:
            # Arranged here: inputs go to the device, and into a captured graph, one by one.
            return leaves(ask(arrange(inputs)))

        run: Call = call if job.runtime != "graphs" else _Graphs(call, device, job.model)
        dtype, record = dtype_of(job.precision), self.probe.record
        to_host = job.measure == "quality"

        def moved(given: Any) -> Any:
            if not isinstance(given, torch.Tensor):
                return given
            return given.to(kind, dtype if given.is_floating_point() else None)

        def execute(inputs: Sequence[Any]) -> Sequence[Any]:
            with torch.inference_mode():
                there = [moved(given) for given in inputs]
                outputs, device_ns = device.timed(lambda: run(there))
                record(device_ns)
                # What is computed with outputs on the host is no part of any latency.
                return [_on_host(output) for output in outputs] if to_host else outputs

        description = torch_runtime.describe_program(program, metadata)
        find_method(description, job.method)
        loaded = Loaded(
            program_ns=opened_ns - start_ns,
            method_ns=ready_ns - opened_ns,
            program_bytes=path.stat().st_size,
            planned_bytes=None,
        )
        windows = torch_runtime.all_logits_of(description, execute)
        return LoadedModel(description, loaded, execute, *windows, probe=self.probe)


def _on_host(output: Any) -> Any:
    import torch

    if not isinstance(output, torch.Tensor):
        return output
    return output.to("cpu", torch.float32 if output.is_floating_point() else None, copy=True)


class _Graphs:
    """Captures a graph for each combination of shapes that it meets, and replays it from then on."""

    def __init__(self, call: Call, device: Accelerator, name: str) -> None:
        self._call, self._device, self._name = call, device, name
        self._captured: dict[tuple[Any, ...], tuple[list[Tensor], Callable[[], object], Sequence[Tensor]]] = {}

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        # A number that is no tensor is part of the graph.
        key = tuple((given.shape, given.dtype) if hasattr(given, "shape") else given for given in inputs)
        if key not in self._captured:
            self._captured[key] = self._capture(
                [given.clone() if hasattr(given, "clone") else given for given in inputs]
            )
        captured, replay, outputs = self._captured[key]
        for buffer, given in zip(captured, inputs, strict=True):
            if hasattr(buffer, "copy_"):
                buffer.copy_(given)
        replay()
        return outputs

    def _capture(self, buffers: list[Tensor]) -> tuple[list[Tensor], Callable[[], object], Sequence[Tensor]]:
        try:
            return (buffers, *self._device.capture(lambda: self._call(buffers)))
        except RuntimeError as error:
            if "captur" not in str(error):
                raise
            raise ModelError(
                f"{self._name} cannot be captured as a graph: {str(error).strip().splitlines()[0].rstrip('.')}.",
                "Leave out --runtime graphs: it reads a value back from the device, or allocates outside of torch.",
            ) from error
