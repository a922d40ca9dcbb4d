"""A target: where models run, and how a worker is started there."""

import sys
from pathlib import Path

from harness.conditions.readings import Reading
from harness.job import Files, Job, request_json
from harness.target import Availability, Capabilities
from harness.targets.transports.local import LocalProcess

WORKER = Path(__file__).with_name("board_worker.py")


class Board:
    """Here the "board" is this machine, and its models are files with a number in them."""

    name = "board"
    summary = "my board: adds numbers"
    capabilities = Capabilities(formats=(".sum",), latency="measured", scenarios=("single-stream",))

    def availability(self) -> Availability:
        """Quick, without starting a worker. If it is not available: why, and what to do."""
        return Availability(True)

    def device(self) -> str:
        """A name to hold a lease on, so that two runs never measure at once."""
        return "board 1"

    def launch(self, job: Job, files: Files) -> LocalProcess:
        """Start a worker on a job: one line of JSON on its standard input."""
        return LocalProcess([sys.executable, str(WORKER)], request_json(job, files), {})

    def environment(self) -> list[Reading]:
        """Identity of the device (rows must agree in it to be compared), and its state now."""
        return [
            Reading("cpu_model", "Board 1", identity=True),
            Reading("temperature_celsius", None, "the board has no sensor"),
        ]
