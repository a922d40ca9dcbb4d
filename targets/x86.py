"""x86: models on this machine's processor, through ExecuTorch (`.pte`) or torch (`.pt2`).

The Python worker is the rule; the native one runs the same `.pte` without Python, and records operators.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import replace

from harness.conditions.host import read_host
from harness.conditions.readings import Reading
from harness.energy import rapl
from harness.energy.source import Missing, Source
from harness.errors import UsageError
from harness.job import Files, Job, request_json
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Availability, Capabilities, WorkerProcess
from harness.targets.native import build
from harness.targets.native.process import NativeWorker
from harness.targets.transports.local import Local, LocalProcess

RUNTIMES = ("python", "native")


class X86:
    """The Python worker or, for `runtime` "native", the native one, as a child process of this one."""

    name = "x86"
    summary = "this machine's x86-64 processor: .pte through ExecuTorch, .pt2 through torch"
    capabilities = Capabilities(
        formats=(".pte", ".pt2"),
        latency="measured",
        scenarios=tuple(SCENARIOS),
        memory=True,
        io_counters=True,
        pinning=True,
        per_operator=True,
        energy=True,
    )

    def __init__(self, runtime: str | None = None) -> None:
        if runtime not in (None, *RUNTIMES):
            raise UsageError(f"x86 has no runtime {runtime!r}.", f"Choose one of: {', '.join(RUNTIMES)}.")
        self._runtime = runtime
        self._native = NativeWorker(Local(), lambda: build.bundle(build.X86_64))
        if runtime == "native":
            scenarios = ("generate", "single-stream", "offline", "flash", "cold-start")
            self.capabilities = replace(self.capabilities, formats=(".pte",), scenarios=scenarios, reads_alone=True)

    def availability(self) -> Availability:
        """Any x86-64 Linux will do."""
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return Availability(
                False, f"this machine is {platform.machine()}, not x86-64", "Run harness on an x86-64 machine."
            )
        if sys.platform != "linux":
            return Availability(
                False, f"{sys.platform} is not supported", "Run harness on Linux (WSL and containers will do)."
            )
        return Availability(True)

    def device(self) -> str:
        """One processor, one lease: two runs at a time would measure each other."""
        return "cpu"

    def launch(self, job: Job, files: Files) -> WorkerProcess:
        """Start the worker of the job's runtime; operators are recorded by the native one alone. OpenMP learns its
        thread count from the environment, before torch is imported.
        """
        if "native" in (self._runtime, job.runtime) or job.measure == "profile":
            return self._native.launch(job, files)
        environment = {"OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false"}
        # -P: the folder that harness is run from must not be where the worker looks for modules.
        return LocalProcess([sys.executable, "-P", "-m", "harness.worker"], request_json(job, files), environment)

    def energy(self) -> Source | Missing:
        """The processor's own counters."""
        return rapl.find()

    def environment(self) -> list[Reading]:
        """This machine."""
        return read_host()
