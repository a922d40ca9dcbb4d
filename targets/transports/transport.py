"""What a native target asks of a transport: put files somewhere, start a process there, bring a file back.

No member takes a command line for a shell. Names of files on the device are made by the transport from hashes, never
from the user's own names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.conditions.readings import Reading
from harness.target import WorkerProcess


class Transport(Protocol):
    """A way to a device. Members raise WorkerError (kind `device`) when it does not answer."""

    def device(self) -> str:
        """A name for the device: the same for the same device, another for another."""
        ...

    def describe(self) -> list[Reading]:
        """The device's identity and its state at this moment."""
        ...

    def put(self, file: Path, sha256: str) -> str:
        """The path on the device of a file with these contents; sent only if the device has none, whole or not at all,
        and kept for the next job.
        """
        ...

    def put_folder(self, folder: Path, key: str) -> str:
        """The path on the device of a folder of files, kept there under `key`; as `put`, whole or not at all."""
        ...

    def make_folder(self) -> str:
        """A new, empty folder on the device, for what one job leaves."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove what `make_folder` made; a device that has gone is no error."""
        ...

    def start(self, command: Sequence[str], request: str, environment: Mapping[str, str]) -> WorkerProcess:
        """Start `command`, program and arguments as they are, with the line `request` on its standard input. However
        the worker's end is brought about, nothing of it runs on.
        """
        ...

    def read(self, path: str) -> bytes:
        """The contents of a file on the device."""
        ...
