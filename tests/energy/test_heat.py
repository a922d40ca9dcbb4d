"""Temperatures and throttling of this machine, from a made-up /sys."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.jobs import make_job

from harness.conditions import host
from harness.conditions.flags import flags
from harness.conditions.readings import Reading
from harness.measurement import Measurement


def reading(name: str) -> Reading:
    return next(reading for reading in host.read_host() if reading.name == name)


def test_every_zone_that_can_be_read_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_THERMAL", tmp_path)
    assert reading("thermal_zones").reason == f"{tmp_path} has no zone that can be read"
    for number, (kind, temp) in enumerate((("acpitz", "27800"), ("x86_pkg_temp", "48000"), ("iwlwifi_1", ""))):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "type").write_text(f"{kind}\n")
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(f"{temp}\n")
    assert reading("thermal_zones").value == "acpitz=27.8 x86_pkg_temp=48"
    assert not reading("thermal_zones").identity


def test_throttling_of_every_core_and_package_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_CPUS", tmp_path)
    assert reading("throttle_count").reason == "the processors count no throttling"
    for cpu in range(2):
        folder = tmp_path / f"cpu{cpu}" / "thermal_throttle"
        folder.mkdir(parents=True)
        for name, value in (
            ("core_throttle_count", cpu),
            ("package_throttle_count", 3),
            ("core_throttle_total_time_ms", 9),
        ):
            (folder / name).write_text(f"{value}\n")
    assert reading("throttle_count").value == "7"
    assert not reading("throttle_count").identity


@pytest.mark.parametrize(("after", "throttled"), [("7", False), ("8", True), (None, False)])
def test_a_count_that_grew_is_a_flag(after: str | None, throttled: bool) -> None:
    before = [Reading("throttle_count", "7")]
    found = flags(before, [Reading("throttle_count", after)], make_job(), Measurement())
    assert ("throttled" in found) == throttled
