"""The temporary name under which a process writes a file, which says whose it is."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path


def temporary(final: Path) -> Path:
    """The name under which this process writes `final`."""
    return final.with_name(f".{final.name}.{machine()}-{os.getpid()}")


@cache
def machine() -> str:
    """This machine since it was switched on, and the numbers that its processes have: a container has its own."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:12]
