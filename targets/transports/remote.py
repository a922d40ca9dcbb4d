"""A device behind a POSIX shell, whichever client leads there: files kept by their hash, folders, processes, readings.

On the device lie `files/SHA256`, `bundles/KEY` and, while a job runs, `jobs/NUMBER`. A file gets its name only when its
hash was found right there, so that half of one is never used, and what is there is checked once a run before it is
believed.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.conditions.readings import Reading
from harness.errors import WorkerError
from harness.manifest import sha256_file
from harness.targets.transports.conditions import SCRIPT, read_device
from harness.targets.transports.local import LocalProcess
from harness.targets.transports.remote_process import RemoteProcess, ending, marked, without_mark, worker_script

_LIMIT_S = 60.0
# What a slow link or a slow disk carries at least.
_BYTES_PER_S = 1e6
_TOKEN = re.compile(r"[A-Za-z0-9._-]+")


class Link(Protocol):
    """A client that leads to the shell of a device. `folder`: where files are kept there, as a word of the shell's."""

    folder: str

    def device(self) -> str:
        """As `Transport.device`."""
        ...

    def shell(self, script: str) -> list[str]:
        """The command, here, that runs `script` there with its standard streams. Raises WorkerError `device`."""
        ...

    def push(self, file: Path, path: str) -> list[str] | None:
        """The command that copies a file there; None where the shell has to be fed with it."""
        ...

    def explain(self, stderr: str) -> WorkerError:
        """Why the client failed, from what it said."""
        ...


class Remote:
    """The device at the end of a link. A `Transport`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._folder = ""
        self._known: set[str] = set()
        self._identity: list[Reading] = []
        self._spent_s = 0.0

    def device(self) -> str:
        """The link's name for it."""
        return self._link.device()

    def machine(self) -> str:
        """Such as aarch64. Raises WorkerError when the device cannot be reached."""
        return self._run("uname -m", limit_s=20.0).decode(errors="replace").strip()

    def describe(self) -> list[Reading]:
        """What it is and how it is; of a device that went away, what was known of it and nulls."""
        try:
            readings = read_device(self._run(SCRIPT).decode(errors="replace"))
        except WorkerError as error:
            known = self._identity or [Reading("machine", None, error.message, identity=True)]
            return [*known, Reading("temperature_celsius", None, error.message)]
        self._identity = [reading for reading in readings if reading.identity]
        return [*readings, Reading("harness_cpu_s", f"{self._spent_s:.2f}")]

    def put(self, file: Path, sha256: str) -> str:
        """As `Transport.put`. Raises WorkerError: `device`, or `model` for a file that is not here."""
        path = f"{self._root()}/files/{_token(sha256)}"
        if path not in self._known:
            try:
                size = file.stat().st_size
            except OSError as error:
                raise WorkerError("model", f"{file} cannot be read ({error.strerror}).", "Check the path.") from error
            look = f'case "$(sha256sum < {_q(path)} 2>/dev/null)" in {_token(sha256)}*) echo there;; esac'
            if not self._run(look, limit_s=_LIMIT_S + size / _BYTES_PER_S).strip():
                self._send(file, size, sha256, path)
            self._known.add(path)
        return path

    def put_folder(self, folder: Path, key: str) -> str:
        """As `Transport.put_folder`: its files one by one, so that a push that broke off goes on where it was, then
        all of them under their names at once.
        """
        path = f"{self._root()}/bundles/{_token(key)}"
        if path in self._known:
            return path
        files = {file.name: sha256_file(file) for file in sorted(folder.iterdir())}
        size = sum(file.stat().st_size for file in folder.iterdir())
        names = " ".join(_q(f"./{name}") for name in files)
        look = f"cd {_q(path)} 2>/dev/null && sha256sum {names} 2>/dev/null || :"
        there = self._run(look, limit_s=_LIMIT_S + size / _BYTES_PER_S).decode(errors="replace").splitlines()
        if [line.split()[:1] for line in there] != [[sha256] for sha256 in files.values()]:
            sent = {name: self.put(folder / name, sha256) for name, sha256 in files.items()}
            part = f"{path}.part"
            # Hard links where the device has them; a symbolic one would hide the libraries beside the worker.
            pairs = [f"{_q(source)} {_q(f'{part}/{name}')}" for name, source in sent.items()]
            links = [f"ln {pair} 2>/dev/null || cp {pair} || exit 1" for pair in pairs]
            make = [f"rm -rf {_q(part)} {_q(path)}; mkdir {_q(part)} || exit 1", *links]
            self._run("\n".join([*make, f"chmod 755 {_q(part)}/* && mv {_q(part)} {_q(path)}"]))
        self._known.add(path)
        return path

    def ask(self, script: str) -> str:
        """What a shell script prints there. Raises WorkerError `device`."""
        return self._run(script, limit_s=20.0).decode(errors="replace")

    def make_folder(self) -> str:
        """As `Transport.make_folder`."""
        path = f"{self._root()}/jobs/{uuid.uuid4().hex[:12]}"
        self._run(f"mkdir {_q(path)}")
        return path

    def remove_folder(self, folder: str) -> None:
        """As `Transport.remove_folder`; what stays on a device that has gone goes with a later run."""
        with contextlib.suppress(WorkerError):
            self._run(f"rm -rf {_q(folder)}")

    def start(self, command: Sequence[str], request: str, environment: Mapping[str, str]) -> RemoteProcess:
        """As `Transport.start`."""
        client = self._link.shell(marked(worker_script(command, environment)))
        return RemoteProcess(LocalProcess(client, request, {}, hold=True), self._failed, self._spend)

    def read(self, path: str) -> bytes:
        """As `Transport.read`. Raises WorkerError."""
        return self._run(f"cat {_q(path)}", limit_s=600.0)

    def _root(self) -> str:
        """The folder of harness on the device, made if need be; what broken jobs left there a day ago is removed."""
        if not self._folder:
            script = (
                f"root={self._link.folder}\n"
                'mkdir -p "$root/files" "$root/bundles" "$root/jobs" || exit 1\n'
                'cd "$root" && pwd\n'
                "find jobs/* files/*.part-* -maxdepth 0 -mtime +0 -exec rm -rf {} + 2>/dev/null || :"
            )
            self._folder = self._run(script).decode().removesuffix("\n")
        return self._folder

    def _send(self, file: Path, size: int, sha256: str, path: str) -> None:
        part = f"{path}.part-{uuid.uuid4().hex[:8]}"
        limit_s = _LIMIT_S + size / _BYTES_PER_S
        try:
            if command := self._link.push(file, part):
                self._client(command, limit_s=limit_s)
            else:
                self._run(f"cat > {_q(part)}", stdin=file, limit_s=limit_s)
            move = f"{_token(sha256)}*) mv {_q(part)} {_q(path)};;"
            look = f'case "$(sha256sum < {_q(part)})" in {move} *) echo no;; esac'
            if self._run(look, limit_s=limit_s).strip():
                raise WorkerError(
                    "device",
                    f"{file.name} did not arrive whole on {self.device()}.",
                    "Run the same again: half a file is never used.",
                )
        except BaseException:
            self.remove_folder(part)
            raise

    def _run(self, script: str, *, stdin: Path | None = None, limit_s: float = _LIMIT_S) -> bytes:
        """The standard output of a shell script on the device. Raises WorkerError `device` when it fails."""
        output, stderr = self._client(self._link.shell(marked(script)), stdin=stdin, limit_s=limit_s, own_mark=True)
        end = ending(stderr)
        if end is None:
            raise self._failed(without_mark(stderr))
        self._spend(end[1])
        if end[0] != 0:
            raise self._refused(without_mark(stderr))
        return output

    def _client(
        self, command: list[str], *, stdin: Path | None = None, limit_s: float, own_mark: bool = False
    ) -> tuple[bytes, str]:
        """What a client wrote on its two outputs. Raises WorkerError unless it succeeded, or its script says itself
        (`own_mark`) whether it did.
        """
        with open(stdin or "/dev/null", "rb") as source:
            try:
                ended = subprocess.run(command, stdin=source, capture_output=True, timeout=limit_s, check=False)
            except subprocess.TimeoutExpired as error:
                raise self._failed(f"no answer within {limit_s:.0f} s") from error
            except OSError as error:
                raise WorkerError(
                    "device", f"{command[0]} cannot be started ({error.strerror}).", "Install it again."
                ) from error
        stderr = ended.stderr.decode(errors="replace")
        if not own_mark and ended.returncode != 0:
            text = stderr + ended.stdout.decode(errors="replace")
            raise self._refused(text) if "remote" in text else self._failed(text)
        return ended.stdout, stderr

    def _refused(self, stderr: str) -> WorkerError:
        """The device is there and did not do it."""
        why = (stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
        if "No space left" in stderr or "File too large" in stderr:
            folder = self._folder or self._link.folder
            return WorkerError(
                "device",
                f"There is no room left on {self.device()}.",
                f"Free some: whatever harness has put there lies in {folder}, and may go.",
            )
        return WorkerError("device", f"{self.device()} refused ({why}).", "See that its folder can be written.")

    def _failed(self, stderr: str) -> WorkerError:
        """The device is not there. When it comes back, what lies on it is looked at anew."""
        self._known.clear()
        self._folder = ""
        return self._link.explain(stderr)

    def _spend(self, seconds: float) -> None:
        self._spent_s += seconds


def _q(path: str) -> str:
    return shlex.quote(path)


def _token(text: str) -> str:
    """A hash or a key, which must be what it looks like: it becomes a name on the device."""
    if not _TOKEN.fullmatch(text):
        raise WorkerError("device", f"{text!r} is no name for a file on a device.", "Report it.")
    return text
