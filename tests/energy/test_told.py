"""`harness targets` and `harness devices` say where energy comes from, or why from nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from energy.devices import PIXEL, Phone
from energy.test_meter import Device
from energy.test_pass import REAL, PoweredTarget

from harness.cli import target_list
from harness.cli.device_list import _row
from harness.cli.targets import targets
from harness.conditions.readings import Reading
from harness.energy.source import Missing, Source
from harness.errors import WorkerError


def told(monkeypatch: pytest.MonkeyPatch, answer: Source | Missing | WorkerError, *options: str) -> str:
    """What `harness targets` prints of a target that answers so when it is asked for energy."""
    target = PoweredTarget(answer)
    target.capabilities = type(REAL)(**{**vars(REAL), "energy": True})
    monkeypatch.setattr(target_list, "target_names", lambda: ["fake"])
    monkeypatch.setattr(target_list, "find_target", lambda name: target)
    monkeypatch.setenv("COLUMNS", "200")
    ended = CliRunner().invoke(targets, list(options), catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.output


def test_targets_name_the_source_and_its_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Device().source(name="RAPL (package-0)")
    text = told(monkeypatch, found)
    assert "fake: energy: RAPL (package-0) (counter)" in text
    assert "pinning, energy" in text
    (row,) = json.loads(told(monkeypatch, found, "--json"))["data"]
    assert row["energy"] == {"source": "RAPL (package-0)", "tier": "counter", "reason": None, "todo": None}


@pytest.mark.parametrize(
    "answer", [Missing("there is none", "Buy one."), WorkerError("device", "There is none.", "Buy one.")]
)
def test_targets_say_why_there_is_none(monkeypatch: pytest.MonkeyPatch, answer: Missing | WorkerError) -> None:
    text = told(monkeypatch, answer)
    assert "here is none. Buy one." in text
    assert "pinning, energy" not in text


class Found:
    """A device of the devices file, and the way to it."""

    name, transport, address = "phone", "adb", "SERIAL"
    cpus = governor = wait_below_celsius = None

    def __init__(self, phone: Phone) -> None:
        self.ask = phone

    def connect(self) -> Any:
        return self

    def machine(self) -> str:
        return "aarch64"

    def describe(self) -> list[Reading]:
        return []


def test_devices_say_it_too() -> None:
    row: dict[str, Any] = _row(Found(Phone(PIXEL.format(tpu=1, big=2))))  # type: ignore[arg-type]
    assert row["energy"].startswith("power rails (S10M_VDD_TPU")
    assert row["energy"].endswith("(counter)")
    row = _row(Found(Phone(battery={"status": "Charging", "current_now": "9", "voltage_now": "9"})))  # type: ignore[arg-type]
    assert row["energy"] is None
    assert "on its charger" in row["no_energy"]
