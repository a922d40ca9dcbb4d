"""cuda: models on an NVIDIA GPU, through torch (`.pt2`), ExecuTorch's CUDA delegate (`.pte`) where there is one, or any
other runtime that is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.conditions.host import read_host
from harness.conditions.readings import Reading
from harness.energy import nvml as nvml_energy
from harness.energy.source import Missing, Source
from harness.errors import UsageError
from harness.job import Files, Job, request_json
from harness.runtime import runtime_choice, with_runtime
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Availability, Capabilities
from harness.targets.cuda.gpus import ORDER, VARIABLE, choose, list_gpus
from harness.targets.cuda.knobs import locked
from harness.targets.cuda.missing import find_nvml, wants
from harness.targets.cuda.nvml import read_gpu
from harness.targets.transports.local import LocalProcess

DEVICE = "cuda"


class Cuda:
    """The Python worker with its models on one GPU, as a child process of this one.

    `device` is its number or UUID (`nvidia-smi -L`), the first visible one for None; `runtime` is eager or graphs,
    or the name of one that loads models on a GPU (`harness.runtime`); `clock`, in MHz, is what the GPU is held at for
    the session. `nvml` stands in for pynvml, and `kind` for the GPU: both are for tests on machines without one.
    """

    name = "cuda"
    summary = "an NVIDIA GPU: .pt2 through torch, eager, compiled or as CUDA graphs"

    def __init__(
        self,
        device: str | None = None,
        runtime: str | None = None,
        clock: str | None = None,
        *,
        nvml: Any | None = None,
        kind: str = "cuda",
    ) -> None:
        choice = runtime_choice(DEVICE, preferred=".pt2")
        if runtime not in (None, *choice.values):
            raise UsageError(f"cuda has no runtime {runtime!r}.", f"Choose one of: {', '.join(choice.values)}.")
        if clock is not None and not clock.isdigit():
            raise UsageError(f"{clock!r} is no clock.", "Give --clock in MHz, such as 1410.")
        self._runtime, self._kind, self._nvml = runtime, kind, nvml or find_nvml()
        self._clock_mhz = None if clock is None else int(clock)
        self._gpus = [] if self._nvml is None else list_gpus(self._nvml)
        self._gpu = choose(self._gpus, device, os.environ.get(VARIABLE), os.environ.get(ORDER))
        self.capabilities = Capabilities(
            formats=choice.formats,
            latency="measured",
            scenarios=tuple(name for name, scenario in SCENARIOS.items() if not scenario.in_flash),
            memory=True,
            io_counters=True,
            pinning=True,
            energy=True,
            device_time=True,
            precisions=choice.precisions,
            runtimes=choice.names,
            python_worker=True,
        )

    def availability(self) -> Availability:
        """Needs torch with CUDA, a driver that is new enough for it, and nvidia-ml-py: all that is missing is said."""
        missing = wants(self._nvml, len(self._gpus)) if self._kind == "cuda" else []
        if missing:
            return Availability(False, "; ".join(what for what, _ in missing), " ".join(todo for _, todo in missing))
        return Availability(True)

    def device(self) -> str:
        """The GPU's name and the beginning of its UUID: two of one kind are two devices."""
        return "no GPU" if self._gpu is None else f"{self._gpu.name} {self._gpu.uuid[:12]}"

    def launch(self, job: Job, files: Files) -> LocalProcess:
        """Start the worker; the UUID leaves one GPU visible to it, the same that NVML is asked about."""
        environment = {"OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false"}
        if self._gpu is not None:
            environment[VARIABLE] = self._gpu.uuid
        command = [files.python or sys.executable, "-P", "-m", "harness.worker", DEVICE, self._kind]
        request = request_json(with_runtime(job, self._runtime, Path(files.model)), files)
        return LocalProcess(command, request, environment)

    @contextmanager
    def adjusted(self) -> Iterator[None]:
        """Hold the clock that was asked for, in persistence mode."""
        if self._clock_mhz is None or self._gpu is None:
            yield
            return
        with locked(self._nvml, self._gpu, self._clock_mhz):
            yield

    def energy(self) -> Source | Missing:
        """The GPU's counter. That of a divided GPU is the whole board's, whoever uses it."""
        if self._gpu is None or self._gpu.instance is not None:
            return Missing("a part of a GPU has no counter of its own", "Give --energy-csv, or leave out --energy.")
        return nvml_energy.find(self._gpu.uuid)

    def environment(self) -> list[Reading]:
        """The GPU, and this machine: what launches the work on a GPU is the processor. The temperature is the GPU's."""
        host = [
            replace(reading, name=f"host_{reading.name}") if reading.name == "temperature_celsius" else reading
            for reading in read_host()
        ]
        if self._gpu is None:
            return host
        wanted = None if self._clock_mhz is None else str(self._clock_mhz)
        reason = None if wanted else "no --clock was given"
        clock = Reading("device_clock_wanted_mhz", wanted, reason, identity=True)
        return [*host, *read_gpu(self._nvml, self._gpu), clock]
