"""x86: models on this machine's processor, through ExecuTorch (`.pte`), torch (`.pt2`), ONNX Runtime (`.onnx`),
OpenVINO (`.xml`) or any other runtime that is installed.

The Python worker is the rule; the native one runs the same `.pte` without Python, and records operators.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path

from harness.conditions.host import read_host
from harness.conditions.readings import Reading
from harness.energy import rapl
from harness.energy.source import Missing, Source
from harness.errors import UsageError
from harness.job import Files, Job, request_json
from harness.runtime import runtime_choice, runtime_for, with_runtime
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Availability, Capabilities, WorkerProcess
from harness.targets.native import build
from harness.targets.native.process import NativeWorker
from harness.targets.transports.local import Local, LocalProcess

DEVICE = "cpu"
WORKERS = ("python", "native")
_NATIVE_FORMATS = (".pte",)


class X86:
    """The Python worker or, for `runtime` "native", the native one, as a child process of this one. `runtime` may also
    be the name of one that loads models in the Python worker (`harness.runtime`).
    """

    name = "x86"
    summary = "this machine's x86-64 processor, through the runtimes that are installed"

    def __init__(self, runtime: str | None = None) -> None:
        choice = runtime_choice(DEVICE, preferred=".pte")
        known = (*WORKERS, *choice.values)
        if runtime not in (None, *known):
            raise UsageError(f"x86 has no runtime {runtime!r}.", f"Choose one of: {', '.join(known)}.")
        self._runtime = runtime
        self._native = NativeWorker(Local(), lambda: build.bundle(build.X86_64))
        self.capabilities = Capabilities(
            formats=choice.formats,
            latency="measured",
            scenarios=tuple(SCENARIOS),
            memory=True,
            io_counters=True,
            pinning=True,
            per_operator=True,
            energy=True,
            precisions=choice.precisions,
            runtimes=choice.names,
            profiled_formats=_NATIVE_FORMATS,
            python_worker=True,
        )
        if runtime == "native":
            scenarios = ("generate", "single-stream", "offline", "flash", "cold-start")
            self.capabilities = replace(
                self.capabilities,
                formats=_NATIVE_FORMATS,
                scenarios=scenarios,
                reads_alone=True,
                python_worker=False,
                precisions=(),
                runtimes=(),
            )

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
        """Start the worker of the job's runtime. Operators of a `.pte` are recorded by the native one, since ExecuTorch
        tells Python nothing of them. OpenMP learns its thread count from the environment, before torch is imported.
        """
        if "native" in (self._runtime, job.runtime) or self._profiles_natively(job, files):
            return self._native.launch(job, files)
        environment = {"OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false"}
        request = request_json(self._with_runtime(job, files), files)
        # -P: the folder that harness is run from must not be where the worker looks for modules.
        return LocalProcess([files.python or sys.executable, "-P", "-m", "harness.worker"], request, environment)

    def _with_runtime(self, job: Job, files: Files) -> Job:
        """The Python worker knows runtimes, and nothing of other workers."""
        if job.runtime in WORKERS:
            return replace(job, runtime=None)
        return with_runtime(job, None if self._runtime in WORKERS else self._runtime, Path(files.model))

    def _profiles_natively(self, job: Job, files: Files) -> bool:
        model = Path(files.model)
        if job.measure != "profile" or model.suffix not in _NATIVE_FORMATS or files.python is not None:
            return False
        return not runtime_for(model, DEVICE, self._with_runtime(job, files).runtime).capabilities.per_operator

    def energy(self) -> Source | Missing:
        """The processor's own counters."""
        return rapl.find()

    def environment(self) -> list[Reading]:
        """This machine."""
        return read_host()
