"""A job of the native worker: its inputs made here and put beside it, its outputs brought back and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from harness import protocol
from harness.errors import HarnessError, UsageError, WorkerError
from harness.job import Files, Job, request_json
from harness.manifest import sha256_file
from harness.model_description import lies_in_flash
from harness.protocol import Describe, Event, Output
from harness.scratch import ScratchFolder
from harness.target import WorkerProcess
from harness.targets.native.bundle import Bundle
from harness.targets.native.description import complete
from harness.targets.native.flash import in_flash, reads_of
from harness.targets.native.inputs import write_inputs
from harness.targets.native.outputs import as_npz, marks_on
from harness.targets.transports.qemu import COUNTS
from harness.targets.transports.transport import Transport

_DESCRIBE_LIMIT_S = 120.0
_OUTPUT, _DESCRIBE = '{"event":"output"', '{"event":"describe"'
# What to say about the outputs of a job beyond them; given the job's outputs as `.npz`.
OnOutputs = Callable[[Path], list[Event]]
PROFILE = "profile.etdp"


class NativeWorker:
    """The worker of a bundle, at the end of a transport. A model is described once, by whichever job comes first: one
    that asks for it, or one that needs inputs.
    """

    def __init__(self, transport: Transport, bundle: Callable[[], Bundle]) -> None:
        self._transport, self._find = transport, bundle
        self._bundle: Bundle | None = None
        self._descriptions: dict[tuple[str, str], Describe | None] = {}
        self._recordings: ScratchFolder | None = None

    def launch(
        self, job: Job, files: Files, *, counting: bool = False, on_outputs: OnOutputs | None = None
    ) -> WorkerProcess:
        """Start a job. `counting`: the transport counts instructions. Raises WorkerError when there is no bundle and
        none can be built (`build`), or when the inputs do not fit the model (`usage`).
        """
        description = None if job.measure == "describe" else self._described(job, files)
        here = ScratchFolder()
        there = self._transport.make_folder()
        try:
            given = self._given(job, files, description, Path(here.name))
            sent = {name: self._transport.put(path, _sha256(path)) for name, path in given.items()}
            request = request_json(job, self._put(files, output=there, **sent))
            environment = {COUNTS: f"{there}/counts"} if counting and job.measure == "latency" else {}
            process = self._start(request, environment)
        except BaseException as error:
            self._transport.remove_folder(there)
            here.cleanup()
            if isinstance(error, UsageError):
                raise WorkerError("usage", error.message, error.hint) from error
            raise
        return NativeProcess(
            process,
            self._transport,
            there,
            here,
            Path(files.output if files.output is not None else here.name),
            partial(self._completed, files),
            [] if description is None else description.delegates,
            on_outputs,
            None if files.labels is None else Path(files.labels),
        )

    def _given(self, job: Job, files: Files, description: Describe | None, here: Path) -> dict[str, Path]:
        """Files for the worker, by the field of its request."""
        if in_flash(job):
            if self._recordings is None:
                self._recordings = ScratchFolder()
            return reads_of(job, files, Path(self._recordings.name))
        return write_inputs(job, files, description, here) if description and not lies_in_flash(description) else {}

    def _put(self, files: Files, **others: str) -> Files:
        """The model's files where the worker finds them, under the names that it gets them by."""
        model, data = Path(files.model), None if files.data is None else Path(files.data)
        return Files(
            model=self._transport.put(model, _sha256(model)),
            data=None if data is None else self._transport.put(data, _sha256(data)),
            **others,
        )

    def _start(self, request: str, environment: dict[str, str]) -> WorkerProcess:
        try:
            if self._bundle is None:
                self._bundle = self._find()
            folder = self._transport.put_folder(self._bundle.folder, self._bundle.key)
            return self._transport.start(self._bundle.command(folder), request, environment)
        except WorkerError:
            raise
        except HarnessError as error:  # a job that cannot start has failed; those that can go on
            raise WorkerError("build", error.message, error.hint) from error

    def _described(self, job: Job, files: Files) -> Describe | None:
        """What the worker says of the model, None where it cannot: the job itself then says why."""
        if _key(files) not in self._descriptions:
            asked = replace(job, measure="describe", scenario="describe", cpus=None)
            process = self._start(request_json(asked, self._put(files)), {})
            try:
                events = [protocol.decode(line) for line in process.lines(_DESCRIBE_LIMIT_S)]
            finally:
                process.close()
            described = next((event for event in events if isinstance(event, Describe)), None)
            if described is None:
                self._descriptions[_key(files)] = None
            else:
                self._completed(files, described)
        return self._descriptions[_key(files)]

    def _completed(self, files: Files, described: Describe) -> Describe:
        """What the worker says of the model, with what else is known of it; remembered."""
        description = self._descriptions[_key(files)] = complete(described, Path(files.model))
        return description


class NativeProcess:
    """The process of a job; what it wrote is fetched before its event is passed on, into the folder `output`.
    `complete` is given what the worker says of a model; `labels` are the classes of its inputs.
    """

    def __init__(
        self,
        process: WorkerProcess,
        transport: Transport,
        there: str,
        here: ScratchFolder,
        output: Path,
        complete: Callable[[Describe], Describe],
        delegates: Sequence[str],
        on_outputs: OnOutputs | None,
        labels: Path | None,
    ) -> None:
        self._process, self._transport, self._there, self._here = process, transport, there, here
        self._output, self._complete, self._delegates = output, complete, delegates
        self._on_outputs, self._labels = on_outputs, labels

    def lines(self, timeout_s: float) -> Iterator[str]:
        """As `WorkerProcess.lines`."""
        for line in self._process.lines(timeout_s):
            if line.startswith(_OUTPUT) and isinstance(event := protocol.decode(line), Output):
                yield from (protocol.encode(fetched) for fetched in self._fetched(event))
            elif line.startswith(_DESCRIBE) and isinstance(event := protocol.decode(line), Describe):
                yield protocol.encode(self._complete(event))
            else:
                yield line

    def close(self) -> int | None:
        """As `WorkerProcess.close`."""
        return self._ended(self._process.close())

    def kill(self) -> int | None:
        """As `WorkerProcess.kill`."""
        return self._ended(self._process.kill())

    def stderr_tail(self) -> str:
        """As `WorkerProcess.stderr_tail`."""
        return self._process.stderr_tail()

    def _ended(self, code: int | None) -> int | None:
        self._transport.remove_folder(self._there)
        self._here.cleanup()
        return code

    def _fetched(self, event: Output) -> list[Event]:
        content = self._transport.read(event.file)
        if hashlib.sha256(content).hexdigest() != event.sha256:
            raise WorkerError("outputs", "The outputs did not arrive as they were written.", "Run it again.")
        if event.file.endswith(PROFILE):
            return self._operators(content)
        path = self._output / "outputs.npz"
        as_npz(content, path)
        events: list[Event] = [Output(file=str(path), sha256=sha256_file(path))]
        if self._labels is not None:
            events += marks_on(path, self._labels)
        return events + (self._on_outputs(path) if self._on_outputs else [])

    def _operators(self, content: bytes) -> list[Event]:
        from harness.targets.native.operators import operators

        path = self._output / PROFILE
        path.write_bytes(content)
        return list(operators(path, self._delegates))


def _key(files: Files) -> tuple[str, str]:
    return files.model, _sha256(Path(files.model))


def _sha256(path: Path) -> str:
    """Of a file, which is read again only when it has changed: neurons may be gigabytes, and every job needs them."""
    try:
        known = path.stat()
    except OSError:
        return ""  # it is gone: the worker will say so
    return _hashed(path, known.st_mtime_ns, known.st_size)


@cache
def _hashed(path: Path, mtime_ns: int, size: int) -> str:
    return sha256_file(path)
