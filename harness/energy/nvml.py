"""NVML: the energy counter of an NVIDIA GPU (Volta and later, millijoules), else its power, sampled.

NVML's power is itself a mean over up to a second, and on some GPUs of a part of it (Yang et al., 2023, arXiv
2312.02741): the counter is preferred wherever there is one. Both are the whole board's, whoever uses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from harness.energy.source import Missing, NoEnergy, Source


def find(uuid: str | None = None) -> Source | Missing:
    """The GPU of that UUID, or the only one; or why there is none."""
    try:
        import pynvml
    except ImportError:
        return Missing("nvidia-ml-py is not installed", "`pip install 'edge-harness[cuda]'`.")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Missing(f"NVML does not answer ({error})", "Install NVIDIA's driver; `nvidia-smi` must list the GPU.")
    try:
        if uuid is None and (count := pynvml.nvmlDeviceGetCount()) != 1:
            return Missing(f"there are {count} GPUs, and none was chosen", "Choose one by its UUID: --device UUID.")
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid) if uuid else pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError as error:
        return Missing(f"NVML finds no such GPU ({error})", "`nvidia-smi -L` lists what there is.")

    def joules() -> float:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

    def watts() -> float:
        return float(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1e3

    counter = Source(name="NVML energy counter", tier="counter", parts=("gpu",), read=_reading(pynvml, joules))
    power = Source(
        name="NVML power", tier="sampled", parts=("gpu",), read=_reading(pynvml, watts), power=True, window_s=30.0
    )
    for source in (counter, power):
        with contextlib.suppress(NoEnergy):
            assert source.read is not None
            source.read()
            return source
    return Missing("this GPU tells NVML neither energy nor power", "Give --energy-csv, or leave out --energy.")


def _reading(nvml: Any, ask: Callable[[], float]) -> Callable[[], list[float]]:
    def read() -> list[float]:
        try:
            return [ask()]
        except nvml.NVMLError as error:
            raise NoEnergy(f"NVML gave no reading ({error})") from error

    return read
