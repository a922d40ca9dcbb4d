"""A target whose workers follow a script: the real local transport, no model, no clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.conditions.readings import Reading
from harness.job import Files, Job, request_json
from harness.protocol import Done, Error, Event, Hello, Samples
from harness.target import Availability, Capabilities
from harness.targets.transports.local import LocalProcess

Step = dict[str, Any]
Script = Sequence[Step]

WORKER = Path(__file__).with_name("worker.py")
CAPABILITIES = Capabilities(
    formats=(".fake",), latency="estimated", scenarios=("single-stream",), memory=True, pinning=True
)
READINGS = (
    Reading("cpu_model", "Fake 3000", identity=True),
    Reading("frequency_governor", None, "not offered by this system", identity=True),
    Reading("clock_s", "100.0"),
)


def say(event: Event) -> Step:
    """The step that emits `event`."""
    return {"emit": {"event": event.event, **asdict(event)}}


HELLO = say(Hello(protocol=1, worker="fake 1", versions={"fake": "1.0"}))
DONE = say(Done())
HANG: Step = {"sleep": 60}


def samples(*durations_ns: int, phase: str = "steady") -> Step:
    """Consecutive samples of those durations."""
    starts = [sum(durations_ns[:index]) for index in range(len(durations_ns))]
    return say(Samples(phase=phase, start_ns=starts, duration_ns=list(durations_ns)))


def fails(kind: str, message: str = "It does not work.", todo: str = "Try another.") -> Step:
    """The step that says `error`."""
    return say(Error(kind=kind, message=message, todo=todo))


GOOD: Script = (HELLO, samples(1000, 1100, 900), DONE)


class FakeTarget:
    """Starts `worker.py` on the script that `script` is, or gives for a job; remembers the jobs and the processes."""

    name = "fake"
    summary = "a scripted worker"

    def __init__(
        self,
        script: Script | Callable[[Job, Files], Script] = GOOD,
        *,
        capabilities: Capabilities = CAPABILITIES,
        readings: Sequence[Reading] = READINGS,
    ) -> None:
        self._script = script
        self.capabilities = capabilities
        self.readings = list(readings)
        self.launched: list[Job] = []
        self.processes: list[LocalProcess] = []

    def availability(self) -> Availability:
        return Availability(True)

    def device(self) -> str:
        return "fake device"

    def launch(self, job: Job, files: Files) -> LocalProcess:
        self.launched.append(job)
        script = self._script(job, files) if callable(self._script) else self._script
        command = [sys.executable, "-I", "-S", str(WORKER), json.dumps(list(script))]
        process = LocalProcess(command, request_json(job, files), {})
        self.processes.append(process)
        return process

    def environment(self) -> list[Reading]:
        return list(self.readings)
