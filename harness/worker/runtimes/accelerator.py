"""Where tensors live and what runs them, as far as a runtime must know: an NVIDIA GPU through torch.

`Cpu` is the same for the processor: all that is written for a GPU runs on it too, but for the driver's own calls, so
that it can be tested where there is no GPU. It measures nothing that could be taken for a GPU's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from harness.errors import UsageError
from harness.protocol import Scalar

Run = Callable[[], Sequence[Any]]
_WARM_UPS = 3
_MEMORY = ("peak_allocated_bytes", "peak_reserved_bytes", "device_bytes")


class Accelerator(Protocol):
    """`kind` is torch's name for this type of device."""

    kind: str

    def open(self) -> None:
        """Make it ready, so that no model is charged for that. Raises UsageError where torch cannot use it."""
        ...

    def versions(self) -> dict[str, str]:
        """Name and version of what runs beneath torch."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was asked of it is done."""
        ...

    def timed(self, run: Run) -> tuple[Sequence[Any], int]:
        """What `run` returns once the device has done it, and the nanoseconds the device took, by its own clock."""
        ...

    def capture(self, run: Run) -> tuple[Callable[[], object], Sequence[Any]]:
        """`run` as a graph: a call that replays it, on the same tensors, and the tensors that its results are in."""
        ...

    def memory(self) -> list[Scalar]:
        """Bytes: the peak that torch's allocator gave out and that it reserved since the last call, and what of the
        device's memory is in use now, by whomever.
        """
        ...

    def state(self) -> list[Scalar]:
        """Clock, power and temperature at this moment."""
        ...


class Cuda:
    """An NVIDIA GPU, the first that CUDA_VISIBLE_DEVICES leaves visible."""

    kind = "cuda"

    def open(self) -> None:
        import torch

        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            torch.empty(1, device=self.kind)  # makes the context: a second, and hundreds of megabytes of the device
            torch.cuda.synchronize()
        except (RuntimeError, AssertionError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(
                f"torch {torch.__version__} cannot use the GPU: {line}.", "`harness targets` says what is missing."
            ) from error
        # Reused: making events anew would cost microseconds of each call.
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def versions(self) -> dict[str, str]:
        import torch

        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def timed(self, run: Run) -> tuple[Sequence[Any], int]:
        self._start.record()
        outputs = run()
        self._end.record()
        self._end.synchronize()
        return outputs, round(self._start.elapsed_time(self._end) * 1e6)

    def capture(self, run: Run) -> tuple[Callable[[], object], Sequence[Any]]:
        import torch

        # torch's recipe: what is chosen and allocated at the first calls must not be in the graph.
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = run()
        return graph.replay, outputs

    def memory(self) -> list[Scalar]:
        import torch

        free, total = torch.cuda.mem_get_info()
        values = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), total - free)
        torch.cuda.reset_peak_memory_stats()
        return [Scalar(name=name, value=value) for name, value in zip(_MEMORY, values, strict=True)]

    def state(self) -> list[Scalar]:
        import torch

        asked: dict[str, Callable[[], float]] = {
            "device_clock_mhz": torch.cuda.clock_rate,
            "device_power_watts": lambda: torch.cuda.power_draw() / 1e3,
            "device_temperature_celsius": torch.cuda.temperature,
        }
        return [_scalar(name, ask) for name, ask in asked.items()]


class Cpu:
    """The processor in place of a GPU. A graph of it is the call itself, made again, its results put where a graph's
    would be.
    """

    kind = "cpu"

    def open(self) -> None:
        """It is ready."""

    def versions(self) -> dict[str, str]:
        return {}

    def synchronize(self) -> None:
        """It has no queue."""

    def timed(self, run: Run) -> tuple[Sequence[Any], int]:
        start = time.perf_counter_ns()
        outputs = run()
        return outputs, time.perf_counter_ns() - start

    def capture(self, run: Run) -> tuple[Callable[[], object], Sequence[Any]]:
        outputs = run()

        def replay() -> None:
            for buffer, output in zip(outputs, run(), strict=True):
                buffer.copy_(output)

        return replay, outputs

    def memory(self) -> list[Scalar]:
        return [Scalar(name=name, value=None, reason="the processor has no memory of its own") for name in _MEMORY]

    def state(self) -> list[Scalar]:
        return []


KINDS: dict[str, Callable[[], Accelerator]] = {"cuda": Cuda, "cpu": Cpu}


def _scalar(name: str, ask: Callable[[], float]) -> Scalar:
    try:
        return Scalar(name=name, value=float(ask()))
    except Exception as error:  # noqa: BLE001 - NVML's errors, torch's, and those of a package that is not there
        return Scalar(name=name, value=None, reason=f"torch cannot ask NVML: {error}")
