"""Processes that must not outlive the one that started them, even when that is killed and can do nothing any more."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Looked up once, here: the child of a process with threads should do little before its program begins.
_LIBC = ctypes.CDLL(None)


def ending_with_us(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """What `subprocess` is to do in the child, before its program begins: the kernel then sends it `number` when the
    thread that started it ends, with this process at the latest.
    """
    parent = os.getpid()

    def arrange() -> None:
        if sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # killed a moment ago
            os._exit(1)

    return arrange
