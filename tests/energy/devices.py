"""Fixtures of energy sources. None was recorded on a device: they have the form of what one shows, with numbers that
are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

RANGE_UJ = 262_143_328_850  # of Intel's packages, as the kernel says it


def powercap(root: Path, zones: Mapping[str, tuple[str, int]]) -> Path:
    """/sys/class/powercap with zones, such as {"intel-rapl:0": ("package-0", 1_000_000)}: name and microjoules."""
    for folder, (name, energy_uj) in zones.items():
        (root / folder).mkdir(parents=True)
        for file, value in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", RANGE_UJ)):
            (root / folder / file).write_text(f"{value}\n")
    return root


SERVER = {
    "intel-rapl:0": ("package-0", 5_000_000),
    "intel-rapl:0:0": ("core", 4_000_000),
    "intel-rapl:0:1": ("dram", 1_000_000),
    "intel-rapl:1": ("package-1", 7_000_000),
    "intel-rapl:1:0": ("dram", 2_000_000),
    "intel-rapl:2": ("psys", 90_000_000),
}


def cpuinfo(folder: Path, vendor: str, family: int, model: int) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: Fixture 3000\n")
    return path


def pynvml(*, energy_mj: int | None = 5_000, power_mw: int | None = 60_000, gpus: int = 1) -> Any:
    """A module in the place of `pynvml`; None for what the GPU does not support."""
    module: Any = ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def answer(value: int | None) -> int:
        if value is None:
            raise NVMLError("Not Supported")
        return value

    def by_uuid(uuid: str) -> str:
        if uuid != "GPU-1":
            raise NVMLError("Not Found")
        return uuid

    module.NVMLError = NVMLError
    module.energy_mj, module.power_mw = energy_mj, power_mw
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: gpus
    module.nvmlDeviceGetHandleByIndex = str
    module.nvmlDeviceGetHandleByUUID = by_uuid
    module.nvmlDeviceGetTotalEnergyConsumption = lambda handle: answer(module.energy_mj)
    module.nvmlDeviceGetPowerUsage = lambda handle: answer(module.power_mw)
    return module


PIXEL = """#/sys/bus/iio/devices/iio:device0/energy_value
t=473848
CH0(T=473848)[S10M_VDD_TPU], {tpu}
CH3(T=473848)[S2M_VDD_CPUCL2], {big}
CH7(T=473848)[S1M_VDD_MIF], 25901660
#/sys/bus/iio/devices/iio:device1/energy_value
t=473848
CH1(T=473848)[VSYS_PWR_MODEM], 48480309
"""
DUMPSYS = """Current Battery Service state:
  AC powered: false
  USB powered: false
  status: {status}
  level: 87
  voltage: {millivolts}
  temperature: 289
  Charge counter: {charge}
"""


class Phone:
    """Answers the scripts of `harness.energy.android` as a shell on a phone would. What is None is not there."""

    def __init__(self, rails: str | None = None, battery: Mapping[str, Any] | None = None, dumpsys: str = "") -> None:
        self.rails, self.battery, self.dumpsys = rails, battery, dumpsys

    def __call__(self, script: str) -> str:
        if "energy_value" in script:
            return self.rails or "#/sys/bus/iio/devices/iio:device*/energy_value\n"
        if "dumpsys" in script:
            return self.dumpsys
        return "".join(f"{name}\t{value}\n" for name, value in (self.battery or {}).items())
