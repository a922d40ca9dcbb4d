"""Settings of a GPU that quiet it for a session: persistence mode and a locked clock, checked, and put back after.

Persistence comes first: without it the driver forgets the clock whenever no process uses the GPU, which happens between
two workers. NVML tells no lock that somebody has set before, so putting back a clock is to unlock it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.targets.cuda.gpus import Gpu


@contextmanager
def locked(nvml: Any, gpu: Gpu, clock_mhz: int) -> Iterator[None]:
    """Lock the clock of a GPU for the time of the block.

    Raises UsageError for a clock that the GPU does not have, and where it may not be set, HarnessError where a setting
    cannot be put back. Whether the clock held under load is for the flags: at rest a GPU may lower it all the same.
    """
    if gpu.instance is not None:
        raise UsageError(f"{gpu.uuid} is a part of a GPU, whose clock is that of the whole.", "Leave out --clock.")
    _check_clock(nvml, gpu, clock_mhz)
    with ExitStack() as undo:
        before = _ask(nvml, gpu, nvml.nvmlDeviceGetPersistenceMode, gpu.board)
        if before != nvml.NVML_FEATURE_ENABLED:
            _ask(nvml, gpu, nvml.nvmlDeviceSetPersistenceMode, gpu.board, nvml.NVML_FEATURE_ENABLED)
            undo.callback(_restore, nvml, gpu, nvml.nvmlDeviceSetPersistenceMode, gpu.board, before)
            if nvml.nvmlDeviceGetPersistenceMode(gpu.board) != nvml.NVML_FEATURE_ENABLED:
                raise UsageError(f"{gpu.name} does not stay in persistence mode.", "Start nvidia-persistenced.")
        _ask(nvml, gpu, nvml.nvmlDeviceSetGpuLockedClocks, gpu.board, clock_mhz, clock_mhz)
        undo.callback(_restore, nvml, gpu, nvml.nvmlDeviceResetGpuLockedClocks, gpu.board)
        yield


def _check_clock(nvml: Any, gpu: Gpu, clock_mhz: int) -> None:
    memory = max(_ask(nvml, gpu, nvml.nvmlDeviceGetSupportedMemoryClocks, gpu.board))
    clocks = sorted(_ask(nvml, gpu, nvml.nvmlDeviceGetSupportedGraphicsClocks, gpu.board, memory))
    if clock_mhz not in clocks:
        nearest = min(clocks, key=lambda clock: abs(clock - clock_mhz))
        raise UsageError(
            f"{gpu.name} has no clock of {clock_mhz} MHz.",
            f"Give one from {clocks[0]} to {clocks[-1]} MHz that it has; the nearest is {nearest}.",
        )


def _ask(nvml: Any, gpu: Gpu, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        raise UsageError(
            f"The clock of {gpu.name} cannot be locked (NVML: {error}).",
            "Run as root (some GPUs have no such setting at all), or leave out --clock.",
        ) from error


def _restore(nvml: Any, gpu: Gpu, function: Any, *arguments: Any) -> None:
    try:
        function(*arguments)
    except nvml.NVMLError as error:
        raise HarnessError(
            f"A setting of {gpu.name} could not be put back (NVML: {error}).",
            f"`sudo nvidia-smi -i {gpu.uuid} -rgc`, and `-pm 0` if persistence mode was off.",
        ) from error
