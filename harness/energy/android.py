"""Energy of a device behind a shell: its power rails where it meters them (Pixel's ODPM), else its battery.

Rails count microwatt-seconds behind the charger; only those that are metered are added up, which is not all of a phone.
A battery tells current and voltage, or how much charge is left, and that only means something while nothing charges it:
then there is no figure, and the reason says so. Every reading wakes a shell on the device, a few hundredths of a
second of one processor each second, while it is idle as under load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from harness.energy.source import Missing, NoEnergy, Source

# Runs a shell script on the device; its standard output. Raises HarnessError.
Ask = Callable[[str], str]

BATTERY = "/sys/class/power_supply/battery"
_NAMES = ("status", "current_now", "voltage_now")
RAILS = 'for file in /sys/bus/iio/devices/iio:device*/energy_value; do echo "#$file"; cat "$file"; done 2>/dev/null; :'
CURRENT = f"""for name in {" ".join(_NAMES)}; do
  IFS= read -r value 2>/dev/null < {BATTERY}/$name && printf '%s\\t%s\\n' $name "$value"
done 2>/dev/null; :"""
CHARGE = "dumpsys battery 2>/dev/null; :"
# CH3(T=358356)[S2M_VDD_CPUCL2], 28071872
_RAIL = re.compile(r"CH\d+\(T=\d+\)\[([^\]]+)\],\s*(\d+)")
_DISCHARGING = "3"  # BatteryManager.BATTERY_STATUS_DISCHARGING
_ON_CHARGER = "the device is on its charger, so that its battery does not tell what it draws"
_UNPLUG = "Take it off its charger: `adb tcpip 5555`, then `adb connect ADDRESS`, and pull the cable."
_METER = "Give --energy-csv, or leave out --energy."
# Microamperes: whatever runs a model draws more. A driver that means milliamperes says such a number.
_LEAST_UA = 5_000
_VOLTS = (2.5, 14.0)


def find(ask: Ask) -> Source | Missing:
    """The rails, the battery's current, or its charge: the first that can be read. Raises HarnessError where the device
    does not answer.
    """
    rails = _rails(ask(RAILS))
    if rails:
        return Source(
            name=f"power rails ({', '.join(rails)})",
            tier="counter",
            parts=tuple(rails),
            read=lambda: _same(rails, _rails(ask(RAILS))),
            wraps_j=(None,) * len(rails),
            period_s=1.0,
            window_s=60.0,
        )
    try:
        if "current_now" in (fields := _fields(ask(CURRENT), "\t")):
            _watts(fields)
            return Source(
                name="battery, current and voltage",
                tier="sampled",
                parts=("battery",),
                read=lambda: [_watts(_fields(ask(CURRENT), "\t"))],
                power=True,
                period_s=1.0,
                window_s=60.0,
            )
        if "Charge counter" in (fields := _fields(ask(CHARGE), ":")):
            _charge(fields)
            return Source(
                name="battery, charge and voltage",
                tier="sampled",
                parts=("battery",),
                read=_drawn(ask),
                period_s=1.0,
                window_s=180.0,
            )
    except NoEnergy as error:
        return Missing(str(error), _UNPLUG if _ON_CHARGER in str(error) else _METER)
    return Missing("it lets nobody read power rails or a battery", _METER)


def _rails(text: str) -> dict[str, float]:
    """Joules by rail; those of a second meter that has the same names get its number."""
    joules_by_rail: dict[str, float] = {}
    for meter, part in enumerate(text.split("#")):
        for name, microjoules in _RAIL.findall(part):
            joules_by_rail[name if name not in joules_by_rail else f"{name}#{meter}"] = int(microjoules) / 1e6
    return joules_by_rail


def _same(rails: Mapping[str, float], now: Mapping[str, float]) -> list[float]:
    if now.keys() != rails.keys():
        raise NoEnergy("the power rails of the device changed while they were read")
    return list(now.values())


def _fields(text: str, between: str) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition(between) for line in text.splitlines())}


def _watts(fields: Mapping[str, str]) -> float:
    """Of current (microamperes, of either sign) and voltage (microvolts)."""
    if fields.get("status") != "Discharging":
        raise NoEnergy(f"{_ON_CHARGER} (battery status {fields.get('status')})")
    current, volts = abs(_number(fields, "current_now")), _number(fields, "voltage_now") / 1e6
    if current < _LEAST_UA:
        raise NoEnergy(f"the battery says {current:g} µA, which may mean milliamperes or nothing")
    return current / 1e6 * _plausible(volts)


def _drawn(ask: Ask) -> Callable[[], list[float]]:
    """Joules that have left the battery since the first call: each loss of charge at the voltage it was lost at."""
    joules, last = 0.0, (0.0, 0.0)

    def read() -> list[float]:
        nonlocal joules, last
        coulombs, volts = _charge(_fields(ask(CHARGE), ":"))
        if last[1]:
            joules += (last[0] - coulombs) * (last[1] + volts) / 2
        last = (coulombs, volts)
        return [joules]

    return read


def _charge(fields: Mapping[str, str]) -> tuple[float, float]:
    """Coulombs left (dumpsys says microampere-hours), and volts (millivolts)."""
    if fields.get("status") != _DISCHARGING:
        raise NoEnergy(f"{_ON_CHARGER} (battery status {fields.get('status')})")
    return _number(fields, "Charge counter") * 3.6e-3, _plausible(_number(fields, "voltage") / 1e3)


def _plausible(volts: float) -> float:
    if not _VOLTS[0] <= volts <= _VOLTS[1]:
        raise NoEnergy(f"the battery says {volts:g} V, which no battery of a phone has")
    return volts


def _number(fields: Mapping[str, str], name: str) -> float:
    try:
        return float(fields[name])
    except (KeyError, ValueError) as error:
        raise NoEnergy(f"the battery does not say its {name.replace('_', ' ')}") from error
