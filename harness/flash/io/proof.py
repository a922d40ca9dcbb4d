"""Whether bytes really came from the device: what the kernel counted, and what the storage is.

`open(O_DIRECT)` succeeds even on tmpfs and proves nothing. What proves a read is /proc/self/io: of all that was asked
for, `read_bytes` says how much the kernel fetched from a device for this process, all of its threads and its io_uring
included.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import ModelError, UsageError

# Of the bytes asked for, what the kernel must have fetched for a row to be believed.
REALLY_READ = 0.99
# statfs(2), linux/magic.h
_IN_MEMORY = {0x01021994: "tmpfs", 0x858458F6: "ramfs", 0x958458F6: "hugetlbfs"}
_STATFS_BYTES = 256
HIDDEN_CACHE = "A cache below a virtual machine cannot be seen."


@dataclass(frozen=True)
class Proof:
    """Bytes asked for and, by the kernel's count, fetched from a device; null where it does not say. `reason` says why
    a row is not `valid`.
    """

    asked_bytes: int
    read_bytes: int | None
    valid: bool
    reason: str | None


def prove(before: int | None, after: int | None, asked_bytes: int) -> Proof:
    """What two readings of `fetched_bytes`, before and after the reads, prove of `asked_bytes`."""
    if before is None or after is None:
        return Proof(asked_bytes, None, False, "the kernel does not count the bytes that a process reads")
    read = after - before
    if read < REALLY_READ * asked_bytes:
        return Proof(asked_bytes, read, False, f"of {asked_bytes} bytes asked for, {read} came from the device")
    return Proof(asked_bytes, read, True, None)


def check_storage(path: Path, direct: bool = True) -> None:
    """Make sure that reads of `path` can come from a device: a file, or one that is going to be written.

    Raises UsageError where it lies in memory, or where `direct` and its file system has no O_DIRECT; ModelError where
    neither it nor its folder can be opened.
    """
    exists = os.path.exists(path)
    if kind := _IN_MEMORY.get(_statfs_type(path if exists else path.parent)):
        raise UsageError(f"{path} lies in memory ({kind}), not in flash.", "Name a file on a disk.")
    if not (exists and direct):
        return
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise ModelError(f"{path} cannot be read ({error.strerror}).", "Name a file you may read.") from error
        raise UsageError(
            f"The file system of {path} has no O_DIRECT, so its cache cannot be passed by.",
            "Name a file on another, such as ext4, XFS or F2FS.",
        ) from error


def host_note() -> str | None:
    """What cannot be known of a virtual machine's disk; None where no hypervisor is seen."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    virtual = " hypervisor" in flags or Path("/sys/hypervisor/type").exists()
    return HIDDEN_CACHE if virtual else None


def cached_fraction(path: Path) -> float | None:
    """How much of a file the page cache holds, 0 to 1: the state that a buffered row began with. None where the kernel
    does not say. Raises OSError.
    """
    size = path.stat().st_size
    if not size:
        return None
    with path.open("rb") as file:
        # Private and writable, so that ctypes and numpy may take its address; no page of it is touched.
        mapping = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    start = np.frombuffer(mapping, np.uint8).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data)):
        return None
    return float((pages & 1).mean())


def _statfs_type(path: Path) -> int:
    """`f_type` of statfs(2), its first word on every 64-bit Linux; os.statvfs has it not."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer):
        raise ModelError(f"{path} cannot be read ({os.strerror(ctypes.get_errno())}).", "Name a file you may read.")
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], "little")
