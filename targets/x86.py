"""x86: models on this machine's processor, through ExecuTorch (`.pte`) or torch (`.pt2`)."""

from __future__ import annotations

import platform
import sys

from harness.conditions.host import read_host
from harness.conditions.readings import Reading
from harness.job import Files, Job, request_json
from harness.scenarios import SCENARIOS
from harness.target import Availability, Capabilities
from harness.targets.transports.local import LocalProcess


class X86:
    """The Python worker, as a child process of this one."""

    name = "x86"
    summary = "this machine's x86-64 processor: .pte through ExecuTorch, .pt2 through torch"
    capabilities = Capabilities(
        formats=(".pte", ".pt2"),
        latency="measured",
        scenarios=tuple(SCENARIOS),
        memory=True,
        io_counters=True,
        pinning=True,
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

    def launch(self, job: Job, files: Files) -> LocalProcess:
        """Start the Python worker. OpenMP learns its thread count from the environment, before torch is imported."""
        environment = {"OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false"}
        # -P: the folder that harness is run from must not be where the worker looks for modules.
        return LocalProcess([sys.executable, "-P", "-m", "harness.worker"], request_json(job, files), environment)

    def environment(self) -> list[Reading]:
        """This machine."""
        return read_host()
