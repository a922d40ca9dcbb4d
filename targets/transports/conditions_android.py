"""What Android says of a device beside what every Linux says: `getprop`, `dumpsys battery` and `thermalservice`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# android.os.BatteryManager: BATTERY_STATUS_*.
_BATTERY = {"2": "charging", "3": "discharging", "4": "not charging", "5": "full"}
# Sensors that are absent or asleep report 0 or something absurd.
_PLAUSIBLE_CELSIUS = (1.0, 150.0)
_SENSOR = re.compile(r"Temperature\{mValue=(-?[\d.]+), mType=(-?\d+), mName=([^,}]*)")
# android.os.Temperature: TYPE_CPU.
_CPU = "0"


def android(sections: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """`model`, `soc`, `abi`, `build` and `battery_status`, those that are known."""
    known = {name: value.strip() for name, _, value in (line.partition("\t") for line in sections["getprop"])}

    def joined(*names: str) -> str:
        return " ".join(known[name] for name in names if known.get(name))

    values = {
        "model": joined("ro.product.manufacturer", "ro.product.model"),
        "soc": joined("ro.soc.manufacturer", "ro.soc.model") or joined("ro.board.platform"),
        "abi": joined("ro.product.cpu.abi"),
        "build": joined("ro.build.fingerprint"),
        "battery_status": _BATTERY.get(_field(sections.get("battery", ()), "status"), ""),
    }
    return {name: value for name, value in values.items() if value}


def temperatures(
    files: Mapping[str, str], battery: Sequence[str] | None, thermal: Sequence[str] | None
) -> tuple[list[tuple[str, float]], str | None]:
    """Zones with degrees Celsius, and Android's thermal status (0 none, to 6 shutdown). Of the kernel's zones where
    they can be read, else of the sensors that thermalservice shows, else the battery's alone.
    """
    status = next((word for line in thermal or () for word in re.findall(r"Thermal Status: (\d+)", line)), None)
    read = [
        (name, _celsius(files.get(path.removesuffix("type") + "temp", "")))
        for path, name in files.items()
        if path.endswith("/type")
    ]
    zones = [(name, celsius) for name, celsius in read if celsius is not None]
    if not zones:
        sensors: dict[str, tuple[str, float]] = {}
        for value, kind, name in _SENSOR.findall("\n".join(thermal or ())):
            if (celsius := _plausible(float(value))) is not None:  # the current ones come after the cached ones
                sensors[name] = (f"cpu-{name}" if kind == _CPU and "cpu" not in name.lower() else name, celsius)
        zones = list(sensors.values())
    if not zones and (tenths := _field(battery or (), "temperature")).isdigit():
        celsius = _plausible(int(tenths) / 10)
        zones = [("battery", celsius)] if celsius is not None else []
    return zones, status


def _field(lines: Sequence[str], name: str) -> str:
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), "")


def _celsius(text: str) -> float | None:
    """The kernel says millidegrees; some drivers say degrees."""
    if not re.fullmatch(r"-?\d+", text):
        return None
    value = int(text)
    return _plausible(value / 1000 if abs(value) > _PLAUSIBLE_CELSIUS[1] else float(value))


def _plausible(celsius: float) -> float | None:
    return celsius if _PLAUSIBLE_CELSIUS[0] <= celsius <= _PLAUSIBLE_CELSIUS[1] else None
