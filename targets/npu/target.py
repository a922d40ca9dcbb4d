"""npu: int8 on Arm's Ethos-U, simulated: integers by the TOSA reference model, costs estimated by Vela."""

from __future__ import annotations

from harness.conditions.readings import Reading
from harness.job import Files, Job
from harness.target import Availability
from harness.targets.npu.configuration import find
from harness.targets.simulated import target as simulated
from harness.targets.transports.local import LocalProcess

_NEEDED = ("ethos-u-vela", "tosa-tools")


class Npu:
    """The simulated worker, as a child process of this one. Nothing is timed, so nothing else may disturb it."""

    name = "npu"
    summary = "Arm Ethos-U, simulated: int8 by the TOSA reference model, cycles and traffic as Vela estimates them"
    capabilities = simulated.CAPABILITIES

    def __init__(self, device: str | None = None) -> None:
        """`device` names a configuration, or a TOML file of the user's own. Raises UsageError for what is neither."""
        self._configuration = find(device)
        self._chosen = device

    def availability(self) -> Availability:
        """Needs Arm's compiler and reference model, nothing of the machine."""
        return simulated.availability(_NEEDED, self.name)

    def device(self) -> str:
        """The configuration's name: rows of two configurations are never set against each other."""
        return self._configuration.name

    def launch(self, job: Job, files: Files) -> LocalProcess:
        """Start the simulated worker."""
        return simulated.launch("harness.targets.npu.worker", self._chosen, job, files)

    def environment(self) -> list[Reading]:
        """Nothing of this machine can change an estimate, so nothing of it is recorded."""
        return [Reading("cpu_model", f"{self._configuration.accelerator}, simulated", None, identity=True)]
