"""One run at a time on a device: a lock on a file per device, which the kernel releases however its holder ends."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator

from harness.atomic_files import try_lock
from harness.errors import HarnessError
from harness.folders import cache_folder

_POLL_S = 0.5


@contextlib.contextmanager
def lease(device: str, timeout_s: float, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold `device` for the time of the block. Waits while another process holds it, after telling `on_wait` which one.

    Raises HarnessError after `timeout_s` seconds of waiting.
    """
    path = cache_folder() / "leases" / (re.sub(r"[^A-Za-z0-9._-]", "_", device) + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise HarnessError(
            f"The lease file {path} cannot be opened ({error.strerror}).",
            "Name a folder you may write as HARNESS_CACHE.",
        ) from error
    with opened as file:
        deadline, announced = time.monotonic() + timeout_s, False
        while not try_lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not announced:
                on_wait(holder)
                announced = True
            if time.monotonic() > deadline:
                raise HarnessError(
                    f"The device {device} is still held by {holder} after {timeout_s:g} s.",
                    "Wait for it to end, or give --lease-timeout.",
                )
            time.sleep(_POLL_S)
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
