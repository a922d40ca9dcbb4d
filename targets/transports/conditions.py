"""What a device at the end of a shell says of itself: one script, and readings made of what it printed.

Everything in the script is constant, works in the shells of Android, Debian and BusyBox, and reads what is there: each
reading that cannot be had says why. Names and units are those of `harness.conditions.host`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.conditions import quota
from harness.conditions.extensions import instruction_sets, vector_extensions
from harness.conditions.readings import Reading
from harness.targets.transports.conditions_android import android, temperatures

_PROPERTIES = (
    *("ro.product.manufacturer", "ro.product.model", "ro.soc.manufacturer", "ro.soc.model", "ro.board.platform"),
    *("ro.product.cpu.abi", "ro.build.fingerprint"),
)
_CPUFREQ = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"
_FILES = (
    *(f"{_CPUFREQ}/cpuinfo_max_freq", f"{_CPUFREQ}/scaling_max_freq", f"{_CPUFREQ}/scaling_cur_freq"),
    f"{_CPUFREQ}/scaling_governor",
    *("/sys/class/thermal/thermal_zone*/type", "/sys/class/thermal/thermal_zone*/temp"),
    *("/sys/class/power_supply/*/status", "/proc/uptime", "/proc/loadavg"),
)
SCRIPT = f"""
echo '#uname'; uname -m; uname -sr
echo '#cpuinfo'; cat /proc/cpuinfo 2>/dev/null
echo '#meminfo'; cat /proc/meminfo 2>/dev/null
echo '#stat'; cat /proc/stat 2>/dev/null
echo '#model'; {{ tr -d '\\000' < /proc/device-tree/model; }} 2>/dev/null; echo
echo '#files'
for file in {" ".join(_FILES)}; do
  IFS= read -r value 2>/dev/null < "$file" && printf '%s\\t%s\\n' "$file" "$value"
done 2>/dev/null
echo '#quota'{quota.SCRIPT}if command -v getprop >/dev/null; then
  echo '#getprop'
  for name in {" ".join(_PROPERTIES)}; do printf '%s\\t%s\\n' "$name" "$(getprop "$name")"; done
fi
if command -v dumpsys >/dev/null; then
  echo '#battery'; dumpsys battery 2>/dev/null
  echo '#thermal'; dumpsys thermalservice 2>/dev/null
fi
:
"""
# Jiffies of a second, as Linux shows them to programs on every machine that harness knows.
_HZ = 100.0
# Arm's own parts (MIDR_EL1, implementer 0x41), as util-linux names them.
_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
}
# Thermal zones of processors, as the drivers of Qualcomm, MediaTek, Samsung, Google, Rockchip and others name them.
_PROCESSOR_ZONES = re.compile(r"cpu|soc|cluster|^big|^mid|^little|tsens|^ap$|x86_pkg", re.IGNORECASE)


def read_device(text: str) -> list[Reading]:
    """Readings from what `SCRIPT` printed."""
    sections = _sections(text)
    files = _pairs(sections.get("files", []))
    stat = _stat(sections.get("stat", []))
    cpuinfo = "\n".join(sections.get("cpuinfo", []))
    uname = [*sections.get("uname", []), "", ""]
    named = android(sections) if "getprop" in sections else {"model": _board(sections)}
    zones, status = temperatures(files, sections.get("battery"), sections.get("thermal"))
    charging = named.get("battery_status") or ("charging" if "Charging" in _all(files, "status") else None)
    return [
        _reading("machine", uname[0], "uname says nothing", identity=True),
        _reading("system", uname[1], "uname says nothing", identity=True),
        _reading("device_model", named.get("model"), "neither getprop nor the device tree names it", identity=True),
        _reading("soc", named.get("soc"), "getprop does not name it", identity=True),
        _reading("abi", named.get("abi"), "it has no getprop", identity=True),
        _reading("android_build", named.get("build"), "it has no getprop", identity=True),
        _reading("cpu_model", _cpu_model(sections.get("cpuinfo", [])), "/proc/cpuinfo names no part", identity=True),
        _reading("vector_extensions", vector_extensions(cpuinfo), "/proc/cpuinfo names none", identity=True),
        _reading("instruction_sets", instruction_sets(cpuinfo), "/proc/cpuinfo names none", identity=True),
        _reading("logical_cpus", stat.get("cpus"), "/proc/stat cannot be read", identity=True),
        _reading("online_cpus", stat.get("online"), "/proc/stat cannot be read"),
        _reading("cpu_max_mhz", _maxima(files), "no cpufreq in /sys", identity=True),
        _reading("frequency_governor", _distinct(files, "scaling_governor"), "no cpufreq in /sys", identity=True),
        _reading("memory_total_bytes", _memory(sections, "MemTotal"), "/proc/meminfo cannot be read"),
        _reading("memory_available_bytes", _memory(sections, "MemAvailable"), "/proc/meminfo cannot be read"),
        _reading("cpu_quota_processors", _quota(sections.get("quota", [])), quota.NONE),
        _reading("load_average_1min", _first(files, "/proc/loadavg"), "/proc/loadavg cannot be read"),
        _reading("cpu_frequency_mhz", _mhz(files, "scaling_cur_freq"), "no cpufreq in /sys"),
        _reading("cpu_frequency_limit_mhz", _mhz(files, "scaling_max_freq"), "no cpufreq in /sys"),
        _reading("temperature_celsius", _hottest(zones), "no thermal zone of a processor can be read"),
        _reading("thermal_zones", " ".join(f"{name}={value:g}" for name, value in zones) or None, "none can be read"),
        _reading("thermal_status", status, "dumpsys thermalservice does not say"),
        _reading("battery_status", charging, "no battery can be read"),
        _reading("clock_s", _first(files, "/proc/uptime"), "/proc/uptime cannot be read"),
        _reading("cpu_busy_s", stat.get("busy"), "/proc/stat cannot be read"),
        _reading("cpu_steal_s", stat.get("steal"), "/proc/stat cannot be read"),
    ]


def _reading(name: str, value: str | None, why: str, *, identity: bool = False) -> Reading:
    return Reading(name, value or None, None if value else why, identity)


def _sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if re.fullmatch(r"#[a-z]+", line):
            lines = sections.setdefault(line[1:], [])
        else:
            lines.append(line)
    return sections


def _pairs(lines: Sequence[str]) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition("\t") for line in lines)}


def _all(files: Mapping[str, str], name: str) -> list[str]:
    return [value for path, value in files.items() if path.rpartition("/")[2] == name]


def _first(files: Mapping[str, str], path: str) -> str | None:
    return next(iter(files.get(path, "").split()), None)


def _distinct(files: Mapping[str, str], name: str) -> str | None:
    return "+".join(sorted(set(_all(files, name)))) or None


def _board(sections: Mapping[str, Sequence[str]]) -> str | None:
    return next((line.strip() for line in sections.get("model", []) if line.strip()), None)


def _memory(sections: Mapping[str, Sequence[str]], name: str) -> str | None:
    for line in sections.get("meminfo", []):
        key, _, rest = line.partition(":")
        if key == name and rest.split()[:1] and rest.split()[0].isdigit():
            return str(1024 * int(rest.split()[0]))
    return None


def _stat(lines: Sequence[str]) -> dict[str, str]:
    """Of /proc/stat: how many processors and which, and seconds that they were busy and that a hypervisor took."""
    values: dict[str, str] = {}
    if online := [match[1] for line in lines if (match := re.match(r"cpu(\d+) ", line))]:
        values |= {"cpus": str(len(online)), "online": ",".join(online)}
    for line in lines:
        if line.startswith("cpu ") and all(word.isdigit() for word in line.split()[1:]):
            user, nice, system, _, _, irq, softirq, steal, *_ = [*map(int, line.split()[1:]), *[0] * 8]
            values["busy"] = f"{(user + nice + system + irq + softirq) / _HZ:.2f}"
            values["steal"] = f"{steal / _HZ:.2f}"
    return values


def _cpu_model(lines: Sequence[str]) -> str | None:
    """Such as "4x Cortex-A55 + 4x Cortex-A76", in the order of the processors; on x86 the kernel's name."""
    counts: dict[str, int] = {}
    implementer = ""
    for line in lines:
        key, _, value = (word.strip() for word in line.partition(":"))
        if key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            name = _PARTS.get(int(value, 16)) if implementer == "0x41" and re.fullmatch("0x[0-9a-f]+", value) else None
            name = name or f"part {implementer}:{value}"
            counts[name] = counts.get(name, 0) + 1
        elif key == "model name":
            return value
    return " + ".join(f"{count}x {name}" for name, count in counts.items()) or None


def _quota(lines: Sequence[str]) -> str | None:
    processors = quota.granted(_pairs(lines))
    return None if processors is None else f"{processors:.2f}"


def _by_cpu(files: Mapping[str, str], name: str) -> dict[int, float]:
    """MHz by processor."""
    by_cpu = {}
    for path, value in files.items():
        match = re.fullmatch(rf"/sys/devices/system/cpu/cpu(\d+)/cpufreq/{name}", path)
        if match and value.isdigit():
            by_cpu[int(match.group(1))] = int(value) / 1000
    return dict(sorted(by_cpu.items()))


def _maxima(files: Mapping[str, str]) -> str | None:
    """The greatest clock of each processor: "1800 1800 2400"."""
    return " ".join(f"{mhz:.0f}" for mhz in _by_cpu(files, "cpuinfo_max_freq").values()) or None


def _mhz(files: Mapping[str, str], name: str) -> str | None:
    """The mean over all processors, so that a limit on any of them shows."""
    clocks = _by_cpu(files, name).values()
    return f"{sum(clocks) / len(clocks):.0f}" if clocks else None


def _hottest(zones: Sequence[tuple[str, float]]) -> str | None:
    """The hottest zone of a processor; of all zones, where none says that it is one."""
    processors = [value for name, value in zones if _PROCESSOR_ZONES.search(name)]
    values = processors or [value for _, value in zones]
    return f"{max(values):.1f}" if values else None
