"""dsp: int8 in CMSIS-NN's arithmetic, simulated: integers to the bit, cycles by a model that says what it rests on."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from harness.conditions.readings import Reading
from harness.job import Files, Job, request_json
from harness.target import Availability, Capabilities
from harness.targets.dsp.profile import find
from harness.targets.transports.local import LocalProcess

# ExecuTorch's cortex_m passes share code with its TOSA backend.
_NEEDED = "tosa-tools"


class Dsp:
    """The simulated worker, as a child process of this one. Nothing is timed, so nothing else may disturb it."""

    name = "dsp"
    capabilities = Capabilities(
        formats=(".pt2",),
        latency="estimated",
        scenarios=("generate", "single-stream"),
        per_operator=True,
        static_shapes=True,
    )

    def __init__(self, device: str | None = None) -> None:
        """`device` names a profile, or a TOML file of the user's own. Raises UsageError for what is neither."""
        self._profile = find(device)
        self._chosen = device
        self.summary = f"{self._profile.summary}, simulated: int8 as CMSIS-NN; cycles {self._profile.calibration}"

    def availability(self) -> Availability:
        """Needs what ExecuTorch lowers with, nothing of the machine."""
        try:
            version(_NEEDED)
        except PackageNotFoundError:
            return Availability(False, f"{_NEEDED} is not installed", "Run `pip install 'edge-harness[dsp]'`.")
        return Availability(True)

    def device(self) -> str:
        """The profile's name: rows of two profiles are never set against each other."""
        return self._profile.name

    def launch(self, job: Job, files: Files) -> LocalProcess:
        """Start the simulated worker."""
        command = [sys.executable, "-P", "-m", "harness.targets.dsp.worker", *([self._chosen] if self._chosen else [])]
        return LocalProcess(command, request_json(job, files), {"OMP_NUM_THREADS": str(job.threads)})

    def environment(self) -> list[Reading]:
        """Nothing of this machine can change an estimate, so nothing of it is recorded."""
        return [
            Reading("cpu_model", f"{self._profile.summary}, simulated", None, identity=True),
            Reading("cycle_model", self._profile.calibration, None, identity=True),
        ]
