"""What ExecuTorch printed of an operator that failed: its exceptions have a number, its log has the cause."""

from __future__ import annotations

import os
import re

_TAIL = 1 << 14
_MESSAGE = re.compile(r"^\[[\w.]+:\d+\] (.*)$")
_FAILED = re.compile(r"^\[method\.cpp:\d+\] KernelCall failed at instruction \S+ in operator ([\w:.]+)")


def failed_operator(log: str) -> tuple[str, str] | None:
    """The operator that failed last and what was printed just before, in the text of a log, or None."""
    lines = log.splitlines()
    for index in range(len(lines) - 1, 0, -1):
        failed, cause = _FAILED.match(lines[index]), _MESSAGE.match(lines[index - 1])
        if failed and cause:
            return failed[1].rstrip(":"), cause[1].strip().rstrip(".")
    return None


def printed() -> str:
    """The end of this process's standard error, where that is a file, as it is of workers on this machine; else
    empty.
    """
    try:
        size = os.fstat(2).st_size
        return os.pread(2, _TAIL, max(0, size - _TAIL)).decode("utf-8", errors="replace")
    except OSError:
        return ""
