"""What the kernel knows of this process: its memory by phase and its storage traffic. Linux's /proc; null elsewhere."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

from harness.protocol import Io, Memory
from harness.storage_reads import fetched_bytes

_CLEAR_PEAK = "5"


def memory(phase: str) -> Memory:
    """Memory of this process at the end of `phase`, and the peak since the last `reset_peak`.

    VmHWM and not getrusage's ru_maxrss, which a child inherits from its parent over fork and exec.
    """
    status = _fields(Path("/proc/self/status"))
    return Memory(
        phase=phase,
        peak_rss_bytes=status.get("VmHWM"),
        rss_bytes=status.get("VmRSS"),
        pss_bytes=_fields(Path("/proc/self/smaps_rollup")).get("Pss"),
    )


def reset_peak() -> bool:
    """Let the next peak be that of the next phase alone. False where the kernel does not allow it: peaks then include
    what came before.
    """
    try:
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
    except OSError:
        return False
    return True


def give_back_freed() -> None:
    """Give memory that this process freed back to the system, where its C library is glibc: what a model takes next
    would else lie in it in part, and not show.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


class IoProbe:
    """Counts what a phase read: begin it, do the work, ask."""

    def __init__(self) -> None:
        self._read_bytes = fetched_bytes()
        self._major_faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt

    def since(self, phase: str, asked_bytes: int | None) -> Io:
        """The traffic since the probe began; `read_bytes` is what the kernel fetched from the device, null if it does
        not say.
        """
        read = fetched_bytes()
        return Io(
            phase=phase,
            asked_bytes=asked_bytes,
            read_bytes=None if read is None or self._read_bytes is None else read - self._read_bytes,
            major_faults=resource.getrusage(resource.RUSAGE_SELF).ru_majflt - self._major_faults,
        )


def _fields(path: Path) -> dict[str, int]:
    """The `Name: 123 kB` lines of a /proc file, in bytes; empty where it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    parts = [line.split() for line in lines if line.endswith(" kB")]
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in parts if len(words) == 3}
