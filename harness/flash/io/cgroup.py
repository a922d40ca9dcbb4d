"""A DRAM budget that the kernel enforces: this process in a memory cgroup of its own, where one may be made.

Nothing is mounted. What a process held before it entered stays charged to where it was; what it takes from then on is
counted, its page cache too, and that is what keeps readers through the page cache honest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What the interpreter itself may take meanwhile: queues, samples, copies of rows that are being multiplied.
ALLOWANCE_BYTES = 32 << 20
_ROOT = Path("/sys/fs/cgroup")
# Names of the limit and of the peak, in cgroups version 1 and 2.
_FILES = {1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes"), 2: ("memory.max", "memory.peak")}


@dataclass(frozen=True)
class Limit:
    """`limit_bytes` is None where there is no cgroup, and `reason` says why."""

    limit_bytes: int | None
    reason: str | None
    _peak: Path | None = None

    def peak_bytes(self) -> int | None:
        """The most that was charged since the process entered; None where the kernel does not say."""
        try:
            return None if self._peak is None else int(self._peak.read_text())
        except (OSError, ValueError):
            return None


@contextlib.contextmanager
def limited(budget_bytes: int, root: Path = _ROOT) -> Iterator[Limit]:
    """For the time of the block this process takes no more than `budget_bytes` and the allowance, beyond what it has:
    the kernel ends it otherwise. Where no cgroup may be made the block runs all the same, and the limit says so.
    """
    limit_bytes = budget_bytes + ALLOWANCE_BYTES
    with contextlib.ExitStack() as stack:
        try:
            limit = _entered(stack, limit_bytes, root)
        except OSError as error:
            stack.close()
            limit = Limit(None, f"no memory cgroup can be made here ({error.strerror or error})")
        yield limit


def _entered(stack: contextlib.ExitStack, limit_bytes: int, root: Path) -> Limit:
    parent, version = _own(root)
    limit_file, peak_file = _FILES[version]
    child = parent / f"harness-{os.getpid()}"
    for left in parent.glob("harness-*"):  # of processes that were ended for their limit; one in use stays
        _remove(left)
    child.mkdir()
    stack.callback(_remove, child)
    # Made by the kernel; where this is no cgroup they are not there, and must not be made by us.
    with (child / limit_file).open("r+") as file:
        file.write(str(limit_bytes))
    with (child / "cgroup.procs").open("r+") as file:
        file.write(str(os.getpid()))
    stack.callback(_leave, parent)
    return Limit(limit_bytes, None, child / peak_file)


def _own(root: Path) -> tuple[Path, int]:
    """The memory cgroup that this process is in, and its version. Raises OSError where there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return root / "memory" / path.lstrip("/"), 1
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return root / line[3:].lstrip("/"), 2
    raise OSError("this process is in no memory cgroup")


def _leave(parent: Path) -> None:
    with contextlib.suppress(OSError), (parent / "cgroup.procs").open("r+") as file:
        file.write(str(os.getpid()))


def _remove(child: Path) -> None:
    with contextlib.suppress(OSError):
        child.rmdir()
