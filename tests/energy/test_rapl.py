"""RAPL through a made-up powercap tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from energy.devices import RANGE_UJ, SERVER, cpuinfo, powercap

from harness.energy import rapl
from harness.energy.source import Missing, Source


def test_packages_and_their_memory_are_added_and_the_board_stands_beside(tmp_path: Path) -> None:
    found = rapl.find(powercap(tmp_path / "powercap", SERVER), cpuinfo(tmp_path, "GenuineIntel", 6, 143))
    assert isinstance(found, Source)
    assert found.parts == ("package-0", "dram-0", "package-1", "dram-1", "psys")
    assert found.contained == {"psys"}
    assert found.read is not None
    assert found.read() == [5.0, 1.0, 7.0, 2.0, 90.0]
    assert set(found.wraps_j) == {(RANGE_UJ + 1) / 1e6}
    assert (found.tier, found.power) == ("counter", False)


@pytest.mark.parametrize(
    ("vendor", "family", "model", "tier"),
    [
        ("GenuineIntel", 6, 60, "counter"),
        ("GenuineIntel", 6, 42, "estimated"),
        ("AuthenticAMD", 23, 49, "estimated"),
        ("AuthenticAMD", 25, 97, "estimated"),
    ],
)
def test_what_is_a_model_of_activity_is_an_estimate(
    tmp_path: Path, vendor: str, family: int, model: int, tier: str
) -> None:
    root = powercap(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 1), "intel-rapl:0:0": ("core", 1)})
    found = rapl.find(root, cpuinfo(tmp_path, vendor, family, model))
    assert isinstance(found, Source)
    assert (found.parts, found.tier) == (("package-0",), tier)


def test_where_there_is_none_it_says_so(tmp_path: Path) -> None:
    found = rapl.find(tmp_path / "powercap")
    assert isinstance(found, Missing)
    assert "no RAPL counters" in found.reason
    assert "--energy-csv" in found.todo


def test_root_alone_may_read_and_the_command_that_mends_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = powercap(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 1)})
    whole = Path.read_text

    def refuse(self: Path, *args: object, **more: object) -> str:  # the tests may run as root
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self)

    monkeypatch.setattr(Path, "read_text", refuse)
    found = rapl.find(root)
    assert isinstance(found, Missing)
    assert found.reason.endswith("intel-rapl:0/energy_uj may be read by root alone")
    assert f"sudo chmod a+r {root}/intel-rapl*/energy_uj" in found.todo


def test_rubbish_in_a_counter_is_a_reason(tmp_path: Path) -> None:
    root = powercap(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 1)})
    (root / "intel-rapl:0" / "energy_uj").write_text("\n")
    found = rapl.find(root)
    assert isinstance(found, Missing)
    assert "cannot be read" in found.reason
