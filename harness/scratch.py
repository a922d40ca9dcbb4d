"""Temporary folders that go with the process that made them, however it ends.

A folder is locked as long as its process lives. The kernel unlocks those of a process that was killed, and the next run
deletes them: a lock, unlike a process's number, is also right where containers share the folder for temporary files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from harness.atomic_files import try_lock

PREFIX = "harness-scratch-"


class ScratchFolder(tempfile.TemporaryDirectory[str]):
    """As `tempfile.TemporaryDirectory`, and locked."""

    def __init__(self) -> None:
        while True:
            super().__init__(prefix=PREFIX)
            # Taken for abandoned in the moment before it is locked: then another.
            with suppress(BlockingIOError, FileNotFoundError):
                lock = _hold(self.name)
                break
        self._unlock = weakref.finalize(self, os.close, lock) if lock is not None else None

    def cleanup(self) -> None:
        """Delete it now."""
        super().cleanup()
        if self._unlock is not None:
            self._unlock()


def delete_abandoned() -> None:
    """Delete the scratch folders of this user whose processes are gone. What cannot be locked is left alone."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = _hold(path)
            if lock is not None:
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)


def _hold(folder: str | Path) -> int | None:
    """The descriptor that locks a folder; None where its file system has no such locks. Raises BlockingIOError where
    another has it, FileNotFoundError where it is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if not try_lock(descriptor):
            raise BlockingIOError(folder)
        if not os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            raise FileNotFoundError(folder)
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
