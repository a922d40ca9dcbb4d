"""Reading the machine that harness runs on, through psutil and /sys."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from harness.conditions.extensions import instruction_sets, vector_extensions
from harness.conditions.quota import NONE, granted, quota_files
from harness.conditions.readings import Reading

_CPUINFO = Path("/proc/cpuinfo")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUS = Path("/sys/devices/system/cpu")
_ONLINE = _CPUS / "online"
_THERMAL = Path("/sys/class/thermal")


def read_host() -> list[Reading]:
    """Identity and state of this machine, every value as text with its unit in its name. Takes a few milliseconds."""
    return [
        _reading("machine", platform.machine, identity=True),
        _reading("system", lambda: f"{platform.system()} {platform.release()}", identity=True),
        _reading("cpu_model", _cpu_model, identity=True),
        _reading("vector_extensions", lambda: _named(vector_extensions), identity=True),
        _reading("instruction_sets", lambda: _named(instruction_sets), identity=True),
        _reading("logical_cpus", lambda: str(psutil.cpu_count()), identity=True),
        _reading("online_cpus", lambda: _ONLINE.read_text().strip()),
        _reading("hypervisor", _hypervisor, identity=True),
        _reading("frequency_governor", lambda: _CPUFREQ.read_text().strip(), identity=True),
        _reading("memory_total_bytes", lambda: str(psutil.virtual_memory().total)),
        _reading("memory_available_bytes", lambda: str(psutil.virtual_memory().available)),
        _reading("affinity", lambda: ",".join(map(str, sorted(os.sched_getaffinity(0))))),
        _reading("cpu_quota_processors", _quota),
        _reading("load_average_1min", lambda: f"{os.getloadavg()[0]:.2f}"),
        _reading("cpu_frequency_mhz", lambda: f"{psutil.cpu_freq().current:.0f}"),
        _reading("temperature_celsius", _temperature),
        _reading("thermal_zones", _thermal_zones),
        _reading("throttle_count", _throttle_count),
        _reading("clock_s", lambda: f"{time.monotonic():.3f}"),
        _reading("cpu_busy_s", lambda: f"{_cpu_busy_s():.2f}"),
        _reading("cpu_steal_s", lambda: f"{psutil.cpu_times().steal:.2f}"),
        _reading("harness_cpu_s", lambda: f"{_harness_cpu_s():.2f}"),
    ]


def _reading(name: str, read: Callable[[], str], *, identity: bool = False) -> Reading:
    try:
        return Reading(name, read(), None, identity)
    except (OSError, AttributeError, LookupError, ValueError, NotImplementedError) as error:
        return Reading(name, None, _why(error), identity)


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return "not offered by this system" if isinstance(error, AttributeError) else str(error) or type(error).__name__


def _cpu_model() -> str:
    for line in _CPUINFO.read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _named(find: Callable[[str], str | None]) -> str:
    names = find(_CPUINFO.read_text())
    if names is None:
        raise LookupError(f"{_CPUINFO} names no extensions")
    return names


def _hypervisor() -> str:
    """Whether the kernel sees a hypervisor below it, as a flag of the processor."""
    return "yes" if " hypervisor " in _CPUINFO.read_text() else "no"


def _quota() -> str:
    """Processors' worth of time that the cgroups of this process, and so of its workers, grant."""
    processors = granted(quota_files())
    if processors is None:
        raise LookupError(NONE)
    return f"{processors:.2f}"


def _temperature() -> str:
    sensors = [entry.current for entries in psutil.sensors_temperatures().values() for entry in entries]
    if not sensors:
        raise LookupError("no temperature sensor is visible")
    return f"{max(sensors):.1f}"


def _thermal_zones() -> str:
    """Degrees Celsius of every zone that can be read, such as `x86_pkg_temp=48 acpitz=28`."""
    zones = []
    for zone in sorted(_THERMAL.glob("thermal_zone*")):
        with contextlib.suppress(OSError, ValueError):  # a zone that is asleep refuses
            zones.append(f"{(zone / 'type').read_text().strip()}={int((zone / 'temp').read_text()) / 1000:g}")
    if not zones:
        raise LookupError(f"{_THERMAL} has no zone that can be read")
    return " ".join(zones)


def _throttle_count() -> str:
    """How often since boot the processors' cores and packages were too hot, added up; Intel's alone count it."""
    counts = [int(file.read_text()) for file in _CPUS.glob("cpu*/thermal_throttle/*_throttle_count")]
    if not counts:
        raise LookupError("the processors count no throttling")
    return str(sum(counts))


def _cpu_busy_s() -> float:
    """Seconds of all processors that somebody used since boot."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0))


def _harness_cpu_s() -> float:
    """Seconds of processor that harness and its finished workers have used."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
