"""A worker process driven by hand: a job in, its events out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.job import Files, Job, request_json
from harness.protocol import Error, Event, Samples, decode

E = TypeVar("E")
QUICK: dict[str, Any] = {"min_iterations": 4, "min_duration_s": 0.0, "max_warmup_s": 0.0}
COMMAND = (sys.executable, "-P", "-m", "harness.worker")


@dataclass(frozen=True)
class Said:
    """What a worker said. Decoding has checked every line against the protocol."""

    events: list[Event]
    stderr: str
    code: int

    @property
    def order(self) -> list[str]:
        """The events' names, samples as `samples steady`, progress left out."""
        return [
            f"samples {e.phase}" if isinstance(e, Samples) else e.event for e in self.events if e.event != "progress"
        ]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E]) -> E:
        (event,) = self.all(kind)
        return event

    def samples(self, phase: str) -> Samples:
        (event,) = (event for event in self.all(Samples) if event.phase == phase)
        return event

    @property
    def error(self) -> Error:
        """The error that it ended with: a sentence what happened and one what to do."""
        error = self.events[-1]
        assert isinstance(error, Error), self.order
        assert error.message.endswith(".")
        assert error.todo.endswith(".") or error.todo.endswith(").")
        assert "Traceback" not in error.message
        assert self.order.count("error") == 1
        return error


def job(scenario: str = "single-stream", measure: str = "latency", **fields: Any) -> Job:
    """A quick job; only what a test is about need be given."""
    return Job(
        target="x86", model="m", model_sha256="0" * 64, scenario=scenario, measure=measure, **{**QUICK, **fields}
    )


def ask(line: str, command: tuple[str, ...] = COMMAND, environment: dict[str, str] | None = None) -> Said:
    """Start a worker, give it one line, wait for its end."""
    ended = subprocess.run(
        command,
        input=line,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Said([decode(text) for text in ended.stdout.splitlines()], ended.stderr, ended.returncode)


def run(path: Path, job: Job, **files: Path) -> Said:
    """Run a worker on the model at `path` to its end; `files` are inputs, tokens, output."""
    return ask(request_json(job, Files(model=str(path), **{name: str(file) for name, file in files.items()})) + "\n")
