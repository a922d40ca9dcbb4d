"""What this machine says of itself, from a machine that is made up: every value with its unit."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.conditions import host


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str | None]:
    """Readings of a machine of made-up values."""
    sensors = {"coretemp": [SimpleNamespace(current=48.0), SimpleNamespace(current=61.25)], "nvme": []}
    used = {
        resource.RUSAGE_SELF: SimpleNamespace(ru_utime=1.0, ru_stime=0.25),
        resource.RUSAGE_CHILDREN: SimpleNamespace(ru_utime=20.0, ru_stime=4.0),
    }
    times = SimpleNamespace(
        user=100.0,
        nice=10.0,
        system=20.0,
        idle=9000.0,
        iowait=700.0,
        irq=1.0,
        softirq=2.0,
        steal=3.5,
        guest=50.0,
    )
    psutil = SimpleNamespace(
        cpu_count=lambda: 12,
        virtual_memory=lambda: SimpleNamespace(total=16_000, available=9_000),
        cpu_freq=lambda: SimpleNamespace(current=2601.4, max=4000.0),
        sensors_temperatures=lambda: sensors,
        cpu_times=lambda: times,
    )
    (tmp_path / "scaling_governor").write_text("powersave\n")
    (tmp_path / "cpuinfo").write_text("model name\t: Fast 3000\nflags\t\t: avx2 hypervisor fma\n")
    monkeypatch.setattr(host, "psutil", psutil)
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "online").write_text("0-7,12-15\n")
    monkeypatch.setattr(host, "_ONLINE", tmp_path / "online")
    monkeypatch.setattr(host, "_CPUFREQ", tmp_path / "scaling_governor")
    monkeypatch.setattr(host, "quota_files", lambda: {"/a/cpu.max": "50000 100000"})
    monkeypatch.setattr(host.resource, "getrusage", used.__getitem__)
    monkeypatch.setattr(host.time, "monotonic", lambda: 1234.5678)
    monkeypatch.setattr(host.os, "getloadavg", lambda: (0.5, 1.5, 2.5))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 3})
    return {reading.name: reading.value for reading in host.read_host()}


def test_every_reading_has_its_value_in_its_unit(read: dict[str, str | None]) -> None:
    assert read | dict.fromkeys(("machine", "system", "thermal_zones", "throttle_count")) == {
        "machine": None,
        "system": None,
        "cpu_model": "Fast 3000",
        "vector_extensions": "AVX2",
        "instruction_sets": "avx2 fma",
        "logical_cpus": "12",
        "online_cpus": "0-7,12-15",
        "hypervisor": "yes",
        "frequency_governor": "powersave",
        "memory_total_bytes": "16000",
        "memory_available_bytes": "9000",
        "affinity": "3,7",
        "cpu_quota_processors": "0.50",
        "load_average_1min": "0.50",
        "cpu_frequency_mhz": "2601",
        "temperature_celsius": "61.2",
        "thermal_zones": None,
        "throttle_count": None,
        "clock_s": "1234.568",
        # Whoever waits for a disk, is idle or was robbed by a hypervisor uses no processor; a guest is in `user`.
        "cpu_busy_s": "133.00",
        "cpu_steal_s": "3.50",
        "harness_cpu_s": "25.25",
    }
