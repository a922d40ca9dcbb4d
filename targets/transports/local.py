"""The local transport: a worker as a child process of this one, files where they lie."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.children import ending_with_us
from harness.conditions.host import read_host
from harness.conditions.readings import Reading
from harness.errors import WorkerError
from harness.scratch import ScratchFolder

_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 28
_TAIL = 4096
_GRACE_S = 10.0


class LocalProcess:
    """A child in a process group of its own, so that whatever it started ends with it; it ends with this process, too.
    Its standard error goes to a file: a pipe that nobody reads would block it. `hold`: its standard input stays open as
    long as this process lives.
    """

    def __init__(
        self, command: Sequence[str], request: str, environment: Mapping[str, str], *, hold: bool = False
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=ending_with_us(),
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError(
                "start", f"The worker {command[0]} cannot be started ({error.strerror}).", "Reinstall harness."
            ) from error
        # Readable once it has exited, without waiting for it: until then its process group keeps its number.
        self._exited = os.pidfd_open(self._process.pid)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: the missing events will say so
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
            if not hold:
                self._process.stdin.close()

    def lines(self, timeout_s: float) -> Iterator[str]:
        """Standard output line by line, until it ends. Raises WorkerError `timeout` after `timeout_s` seconds.

        A worker that has died is not waited for, even if something it started still holds its standard output.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        output = self._process.stdout.fileno()
        pending = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(self._exited, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                if not ready or time.monotonic() > deadline:
                    raise WorkerError(
                        "timeout",
                        f"The worker was not done after {timeout_s:g} s.",
                        "Give it longer with --timeout, or less work.",
                    )
                chunk = os.read(output, _CHUNK) if output in ready else b""
                if not chunk:
                    break
                pending += chunk
                if b"\n" in chunk:
                    *lines, pending = pending.split(b"\n")
                    yield from (line.decode("utf-8", errors="replace") for line in lines if line.strip())
                if len(pending) > _LONGEST_LINE:
                    raise WorkerError(
                        "protocol",
                        "The worker printed a line without end.",
                        "`harness report` shows its standard error.",
                    )
        if pending.strip():
            yield pending.decode("utf-8", errors="replace")

    def close(self) -> int | None:
        """Let a worker that has said its last word end by itself, kill one that does not, and all its children."""
        if self._process.stdout is not None:
            self._process.stdout.close()
        select.select([self._exited], [], [], _GRACE_S)
        return self.kill()

    def kill(self) -> int | None:
        """End the whole process group now. It cannot be another's: its leader, dead or not, has not been waited for."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._exited)
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
        return self._process.returncode

    def stderr_tail(self) -> str:
        """The last 4 kB of standard error."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _TAIL))
        return self._stderr.read().decode("utf-8", errors="replace")


class Local:
    """This machine: files stay where they are. A `Transport`."""

    def __init__(self) -> None:
        self._folders: dict[str, ScratchFolder] = {}

    def device(self) -> str:
        """One processor."""
        return "cpu"

    def describe(self) -> list[Reading]:
        """This machine."""
        return read_host()

    def put(self, file: Path, sha256: str) -> str:
        """The file itself."""
        return str(file.absolute())

    def put_folder(self, folder: Path, key: str) -> str:
        """The folder itself."""
        return str(folder.absolute())

    def make_folder(self) -> str:
        """A temporary folder."""
        folder = ScratchFolder()
        self._folders[folder.name] = folder
        return folder.name

    def remove_folder(self, folder: str) -> None:
        """Remove it."""
        if (made := self._folders.pop(folder, None)) is not None:
            made.cleanup()

    def start(self, command: Sequence[str], request: str, environment: Mapping[str, str]) -> LocalProcess:
        """A child process."""
        return LocalProcess(command, request, environment)

    def read(self, path: str) -> bytes:
        """Its bytes. Raises WorkerError."""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise WorkerError("outputs", f"{path} cannot be read ({error.strerror}).", "Is the disk full?") from error
