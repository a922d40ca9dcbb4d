"""RAPL: the energy counters of Intel's and AMD's processors, as Linux shows them in /sys/class/powercap.

The kernel calls the interface `intel-rapl` on both. A package's energy contains its cores' and its graphics', but not
its memory's (`dram`), which is added; that of the whole board (`psys`) contains them all, where the board's maker has
wired it, and is reported beside. The counters move about every millisecond.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.energy.source import Missing, Source, Tier

ROOT = Path("/sys/class/powercap")
CPUINFO = Path("/proc/cpuinfo")
# Sandy Bridge and Ivy Bridge, whose RAPL is a model of events; from Haswell on Intel measures (Hackenberg et al., 2015,
# doi 10.1109/IPDPSW.2015.70). AMD's is a model too (Schöne et al., 2021, arXiv 2108.00808, of Zen 2).
_MODELLED = ("42", "45", "58", "62")


def find(root: Path = ROOT, cpuinfo: Path = CPUINFO) -> Source | Missing:
    """The packages of this machine and their memory; or why they cannot be read."""
    zones = sorted(folder for folder in root.glob("intel-rapl:*") if (folder / "name").exists())
    named = {folder: (folder / "name").read_text().strip() for folder in zones}
    chosen = {folder: name for folder, name in named.items() if name.startswith("package") or name in ("dram", "psys")}
    if not any(name.startswith("package") for name in chosen.values()):
        return Missing(
            f"{root} has no RAPL counters",
            "A virtual machine has none; on your own hardware `modprobe intel_rapl_msr`, or give --energy-csv.",
        )
    try:
        for folder in chosen:
            _joules(folder)
    except PermissionError as error:
        return Missing(
            f"{error.filename} may be read by root alone", f"`sudo chmod a+r {root}/intel-rapl*/energy_uj` mends it."
        )
    except (OSError, ValueError) as error:
        return Missing(f"the RAPL counters cannot be read ({error})", "Give --energy-csv, or leave out --energy.")
    parts = tuple(_label(folder, name) for folder, name in chosen.items())
    return Source(
        name=f"RAPL ({', '.join(parts)})",
        tier=_tier(cpuinfo),
        parts=parts,
        read=lambda: [_joules(folder) for folder in chosen],
        wraps_j=tuple(_wraps(folder) for folder in chosen),
        contained=frozenset(part for part, name in zip(parts, chosen.values(), strict=True) if name == "psys"),
    )


def _joules(folder: Path) -> float:
    return int((folder / "energy_uj").read_text()) / 1e6


def _wraps(folder: Path) -> float | None:
    """The counter goes up to this value and then to 0."""
    try:
        return (int((folder / "max_energy_range_uj").read_text()) + 1) / 1e6
    except (OSError, ValueError):
        return None


def _label(folder: Path, name: str) -> str:
    """`package-0`, `psys`, and `dram-0` for the memory of the first package."""
    return f"dram-{folder.name.split(':')[1]}" if name == "dram" else name


def _tier(cpuinfo: Path) -> Tier:
    try:
        text = cpuinfo.read_text()
    except OSError:
        return "counter"
    fields = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (\S+)", text, re.MULTILINE))
    modelled = fields.get("cpu family") == "6" and fields.get("model") in _MODELLED
    return "estimated" if fields.get("vendor_id") in ("AuthenticAMD", "HygonGenuine") or modelled else "counter"
