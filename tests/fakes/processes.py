"""Looking at processes from outside, in /proc."""

from __future__ import annotations

import time
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not yet waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def ends(pid: int, patience_s: float = 20.0) -> bool:
    """Whether a process is gone, or goes while we look: the kernel ends the members of a group one after the other."""
    deadline = time.monotonic() + patience_s
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def pid_in(path: Path) -> int:
    """The process id that a worker's `spawn` step wrote."""
    return int(path.read_text())
