"""dsp: int8 in CMSIS-NN's arithmetic, simulated: integers to the bit, cycles by a model that says what it rests on."""

from __future__ import annotations

from harness.conditions.readings import Reading
from harness.job import Files, Job
from harness.target import Availability
from harness.targets.dsp.profile import find
from harness.targets.simulated import target as simulated
from harness.targets.transports.local import LocalProcess

# ExecuTorch's cortex_m passes share code with its TOSA backend.
_NEEDED = "tosa-tools"


class Dsp:
    """The simulated worker, as a child process of this one. Nothing is timed, so nothing else may disturb it."""

    name = "dsp"
    capabilities = simulated.CAPABILITIES

    def __init__(self, device: str | None = None) -> None:
        """`device` names a profile, or a TOML file of the user's own. Raises UsageError for what is neither."""
        self._profile = find(device)
        self._chosen = device
        self.summary = f"{self._profile.summary}, simulated: int8 as CMSIS-NN; cycles {self._profile.calibration}"

    def availability(self) -> Availability:
        """Needs what ExecuTorch lowers with, nothing of the machine."""
        return simulated.availability((_NEEDED,), self.name)

    def device(self) -> str:
        """The profile's name: rows of two profiles are never set against each other."""
        return self._profile.name

    def launch(self, job: Job, files: Files) -> LocalProcess:
        """Start the simulated worker."""
        return simulated.launch("harness.targets.dsp.worker", self._chosen, job, files)

    def environment(self) -> list[Reading]:
        """Nothing of this machine can change an estimate, so nothing of it is recorded."""
        return [
            Reading("cpu_model", f"{self._profile.summary}, simulated", None, identity=True),
            Reading("cycle_model", self._profile.calibration, None, identity=True),
        ]
