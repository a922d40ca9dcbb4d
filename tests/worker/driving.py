"""A worker process driven by hand: a job in, its events out."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.job import Files, Job, request_json
from harness.protocol import Error, Event, Samples, decode

E = TypeVar("E")
QUICK: dict[str, Any] = {"min_iterations": 4, "min_duration_s": 0.0, "max_warmup_s": 0.0}
COMMAND = (sys.executable, "-P", "-m", "harness.worker")
# A server that has imported what every worker imports, and used none of it: workers are forked from it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["torch", "executorch.extension.pybindings._C", "torch.export.pt2_archive", "harness.worker.__main__"]
)


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


def run_forked(path: Path, job: Job, **files: Path) -> Said:
    """As `run`, in a process of its own too, but forked where torch and ExecuTorch have been imported already: a second
    less of a processor, for tests that are about programs and not about how a worker starts.
    """
    return ask_forked(job, Files(model=str(path), **{name: str(file) for name, file in files.items()}))


def ask_forked(job: Job, files: Files, arguments: tuple[str, ...] = ()) -> Said:
    """A forked worker that was started with `arguments`, to its end."""
    with tempfile.TemporaryDirectory() as made:
        request, out, err = (Path(made) / name for name in ("request", "out", "err"))
        request.write_text(request_json(job, files) + "\n")
        process = _FORKS.Process(target=_work, args=(request, out, err, arguments))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
        assert process.exitcode is not None, err.read_text()
        events = [decode(text) for text in out.read_text().splitlines()]
        return Said(events, err.read_text(errors="replace"), process.exitcode)


def _work(request: Path, out: Path, err: Path, arguments: tuple[str, ...]) -> None:
    """In the forked process: the three files take the place of its standard streams."""
    from harness.worker.__main__ import main

    for stream, (file, flags) in enumerate(
        ((request, os.O_RDONLY), (out, os.O_WRONLY | os.O_CREAT), (err, os.O_WRONLY | os.O_CREAT))
    ):
        os.dup2(os.open(file, flags, 0o600), stream)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    main(*arguments)
