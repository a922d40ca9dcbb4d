"""Rails and batteries of a phone that is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from energy.devices import DUMPSYS, PIXEL, Phone

from harness.energy import android
from harness.energy.source import Missing, NoEnergy, Source

DISCHARGING = {"status": "Discharging", "current_now": "-350000", "voltage_now": "3900000"}


def source(ask: android.Ask) -> Source:
    found = android.find(ask)
    assert isinstance(found, Source), found
    assert found.read is not None
    return found


def read(found: Source) -> list[float]:
    assert found.read is not None
    return list(found.read())


def test_rails_come_first_and_count_whatever_charges() -> None:
    phone = Phone(PIXEL.format(tpu=3_000_000, big=28_000_000), {**DISCHARGING, "status": "Charging"})
    found = source(phone)
    assert found.tier == "counter"
    assert found.parts == ("S10M_VDD_TPU", "S2M_VDD_CPUCL2", "S1M_VDD_MIF", "VSYS_PWR_MODEM")
    assert read(found) == pytest.approx([3.0, 28.0, 25.90166, 48.480309])
    phone.rails = PIXEL.format(tpu=3_500_000, big=29_000_000)
    assert read(found)[:2] == pytest.approx([3.5, 29.0])
    phone.rails = None
    with pytest.raises(NoEnergy, match="rails of the device changed"):
        read(found)


def test_rails_of_one_name_on_two_meters_are_two() -> None:
    meters = ["CH0(T=1)[VDD], 1000000\nCH1(T=1)[MIF], 2000000", "CH0(T=1)[VDD], 5000000"]
    found = source(Phone("".join(f"#/sys/{number}\n{text}\n" for number, text in enumerate(meters))))
    assert found.parts == ("VDD", "MIF", "VDD#2")
    assert read(found) == [1.0, 2.0, 5.0]


@pytest.mark.parametrize("current", ["-350000", "350000"])
def test_a_battery_tells_its_power_whatever_sign_its_driver_likes(current: str) -> None:
    found = source(Phone(battery=DISCHARGING | {"current_now": current}))
    assert (found.tier, found.power) == ("sampled", True)
    assert read(found) == [pytest.approx(1.365)]


def test_charge_and_voltage_are_counted_where_there_is_no_current() -> None:
    phone = Phone(dumpsys=DUMPSYS.format(status=3, millivolts=4000, charge=3_000_000))
    found = source(phone)
    assert read(found) == [0.0]
    phone.dumpsys = DUMPSYS.format(status=3, millivolts=3800, charge=2_999_000)
    # 1 mAh is 3.6 C, lost between 4.0 and 3.8 V. That the voltage fell is no energy.
    assert read(found) == [pytest.approx(3.6 * 3.9)]
    phone.dumpsys = DUMPSYS.format(status=3, millivolts=3900, charge=2_999_000)
    assert read(found) == [pytest.approx(3.6 * 3.9)]


@pytest.mark.parametrize(
    ("phone", "why", "todo"),
    [
        (Phone(), "nobody read power rails or a battery", "--energy-csv"),
        (Phone(battery=DISCHARGING | {"status": "Charging"}), "on its charger", "adb tcpip"),
        (Phone(battery=DISCHARGING | {"status": "Full"}), "on its charger", "pull the cable"),
        (Phone(dumpsys=DUMPSYS.format(status=2, millivolts=4000, charge=3_000_000)), "on its charger", "adb tcpip"),
        (Phone(battery=DISCHARGING | {"current_now": "-350"}), "may mean milliamperes", "--energy-csv"),
        (Phone(battery=DISCHARGING | {"voltage_now": "3900"}), "which no battery of a phone has", "--energy-csv"),
        (Phone(battery=DISCHARGING | {"current_now": "?"}), "does not say its current now", "--energy-csv"),
        (Phone(dumpsys=DUMPSYS.format(status=3, millivolts="", charge=1)), "does not say its voltage", "--energy-csv"),
    ],
)
def test_where_there_is_none_it_says_so(phone: Phone, why: str, todo: str) -> None:
    found = android.find(phone)
    assert isinstance(found, Missing)
    assert why in found.reason
    assert todo in found.todo


def test_a_charger_that_is_plugged_in_meanwhile_ends_it() -> None:
    battery: dict[str, Any] = dict(DISCHARGING)
    found = source(Phone(battery=battery))
    battery["status"] = "Charging"
    with pytest.raises(NoEnergy, match="on its charger"):
        read(found)


@pytest.mark.parametrize("shell", ["sh", "mksh"])
def test_the_scripts_run_in_a_shell(shell: str, tmp_path: Path) -> None:
    """On a tree in the place of /sys: first a battery, then rails too, then a file that cannot be read."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    def ask(script: str) -> str:
        said = subprocess.run(
            [shell, "-c", script.replace("/sys/", f"{tmp_path}/sys/")], capture_output=True, text=True, check=False
        )
        assert (said.returncode, said.stderr) == (0, "")
        return said.stdout

    assert isinstance(android.find(ask), Missing)
    battery = tmp_path / "sys/class/power_supply/battery"
    battery.mkdir(parents=True)
    for name, value in DISCHARGING.items():
        (battery / name).write_text(f"{value}\n")
    assert read(source(ask)) == [pytest.approx(1.365)]
    for number, part in enumerate(PIXEL.format(tpu=1, big=2).split("#")[1:]):
        folder = tmp_path / f"sys/bus/iio/devices/iio:device{number}"
        folder.mkdir(parents=True)
        (folder / "energy_value").write_text(part.partition("\n")[2])
    assert source(ask).parts == ("S10M_VDD_TPU", "S2M_VDD_CPUCL2", "S1M_VDD_MIF", "VSYS_PWR_MODEM")
