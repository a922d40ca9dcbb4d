"""What the kernel knows of reads from storage: bytes fetched for this process, and pages it is asked to forget."""

from __future__ import annotations

import os
from pathlib import Path


def fetched_bytes() -> int | None:
    """Bytes that the kernel has fetched from devices for this process since it began; None where it does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), None)


def drop_page_cache(path: Path) -> None:
    """Ask the kernel to forget the pages of a file, so that the next read comes from the device. It may decline: see
    `fetched_bytes`. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # dirty pages cannot be dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
