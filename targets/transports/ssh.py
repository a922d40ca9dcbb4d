"""The way to a board: OpenSSH's own client. Keys, ports, jump hosts and known host keys are those of the user's ssh."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from harness.errors import UsageError, WorkerError

PROGRAM = "ssh"
FOLDER = '"${XDG_CACHE_HOME:-$HOME/.cache}/harness-device"'
# Never a question; no terminal; nothing forwarded; a peer that is silent for 15 seconds is gone.
_OPTIONS = (
    *("-T", "-x", "-a", "-e", "none", "-o", "BatchMode=yes", "-o", "RemoteCommand=none"),
    *("-o", "ClearAllForwardings=yes", "-o", "LogLevel=INFO", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)
_HOST = re.compile(r"[^\s\-][^\s]*")


class Ssh:
    """A host as `ssh` takes it: a name of its configuration, `user@host`, or `ssh://user@host:port`. A `Link`."""

    def __init__(self, host: str, *, name: str | None = None, folder: str | None = None) -> None:
        if not _HOST.fullmatch(host):
            raise UsageError(f"{host!r} is no host for ssh.", "Give one that `ssh HOST` takes: --device ssh:HOST")
        self._host, self._name = host, name
        self.folder = shlex.quote(folder) if folder else FOLDER

    def device(self) -> str:
        """The name it was given, or the host."""
        return self._name or f"ssh {self._host}"

    def shell(self, script: str) -> list[str]:
        """As `Link.shell`. The script is for sh, whatever shell the user has there."""
        if shutil.which(PROGRAM) is None:
            raise WorkerError("device", "ssh is not installed.", "`apt-get install openssh-client`.")
        return [PROGRAM, *_OPTIONS, "--", self._host, f"exec sh -c {shlex.quote(script)}"]

    def push(self, file: Path, path: str) -> None:
        """As `Link.push`: the shell is fed. scp would read a host out of a name with a colon."""

    def explain(self, stderr: str) -> WorkerError:
        """As `Link.explain`."""
        host = self._host
        for words, what, todo in (
            (
                "HOST IDENTIFICATION HAS CHANGED",
                f"The host key of {host} is not the one that is known.",
                f"If it was set up anew: `ssh-keygen -R {host}`, then `ssh {host}` once, and compare the fingerprint.",
            ),
            (
                "Host key verification failed",
                f"The host key of {host} is not known yet.",
                f"`ssh {host}` once, and compare the fingerprint.",
            ),
            ("Permission denied (", f"{host} lets no key of this user in.", f"`ssh-copy-id {host}`."),
        ):
            if words in stderr:
                return WorkerError("device", what, todo)
        why = (stderr.strip().splitlines() or ["the connection ended"])[-1].strip().rstrip(".")
        return WorkerError(
            "device",
            f"{self.device()} cannot be reached ({why}).",
            f"See that `ssh {host} true` works without a question; what was sent and measured is kept.",
        )
