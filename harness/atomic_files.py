"""Files that appear complete or not at all, locks that end with their process, and the sentence for what cannot be
written.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError

_NUMBERS = itertools.count()


@contextmanager
def replacing_file(final: Path, unfinished: Path | None = None) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `final` when the body ends well: written, synced, renamed, and its folder
    synced. When the body raises, `final` is as it was and nothing is left beside it.

    A process that is killed leaves at most the file `unfinished`, which must be in the folder of `final`; where none is
    given, its name is made up and short, whatever that of `final`. Raises OSError.
    """
    unfinished = unfinished or final.with_name(f".part-{os.getpid()}-{next(_NUMBERS)}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, final)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def replacing_files(folder: Path, last: str | None = None) -> Iterator[Path]:
    """A scratch folder whose files, when the body ends well, replace those of the same names in `folder`, one by one:
    each at once, the file named `last` after all others. When the body raises, `folder` is left as it was.

    For files that can be made again: they are not synced. `folder` is made where there is none. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    try:
        yield scratch
        for file in sorted(scratch.iterdir(), key=lambda path: (path.name == last, path.name)):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the body ends well. When the body raises, `folder` is as it
    was; what another process has put there meanwhile stays.

    For files that can be made again: they are not synced. The folder above is made where there is none. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.exists():
                raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` within the block, waiting while another process or thread holds it; its folder is made
    where there is none. The kernel frees the lock with the process, however that ends. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder if nobody else has; True where it is locked now, until it is closed.

    Raises OSError where the file system has no such locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_full(error: OSError) -> bool:
    """Whether a disk has no room left, or a quota or a limit on the size of files is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unwritable(name: object, error: Exception, todo: str, kind: type[HarnessError] = HarnessError) -> HarnessError:
    """The error that says that `name` cannot be written, and why; `todo` is what to do where the disk is not full."""
    if isinstance(error, OSError) and is_full(error):
        return kind(f"The disk has no room for {name}.", "Free space, or name a place on another disk.")
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return kind(f"{name} cannot be written ({reason.rstrip('.')}).", todo)
