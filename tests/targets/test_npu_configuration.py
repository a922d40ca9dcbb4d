"""Configurations of the simulated accelerator: those that come along, one's own, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.target import find_target

pytest.importorskip("ethosu.vela", reason="needs pip install 'edge-harness[npu]'")

from harness.targets.npu.configuration import Configuration, find, ini_path, names
from harness.targets.npu.vela_ini import memories

OWN = """
accelerator = "ethos-u85-256"
system_config = "Mine"
memory_mode = "Weights_Outside"
tosa = "TOSA-1.0+INT+int16+int4+cf"
vela_ini = "mine.ini"
"""
INI = """; one's own board
[System_Config.Mine]
core_clock=200e6
axi0_port=Sram
axi1_port=OffChipFlash
Sram_clock_scale=1.0
OffChipFlash_clock_scale=0.125
[Memory_Mode.Weights_Outside]
const_mem_area=Axi1
arena_mem_area=Axi0
cache_mem_area=Axi0
"""


def own(folder: Path, ini: str = INI, toml: str = OWN) -> Configuration:
    (folder / "mine.ini").write_text(ini)
    (folder / "mine.toml").write_text(toml)
    return find(str(folder / "mine.toml"))


def test_speeds_are_those_that_arm_writes_in_its_comments() -> None:
    flash, dram = memories(find("u85-256-flash")), memories(find("u85-256-dram"))
    assert flash.bytes_per_s == {"sram": 16e9, "flash": 0.5e9}
    assert (flash.clock_hz, flash.weights, flash.activations) == (500e6, "flash", "sram")
    assert dram.bytes_per_s == {"sram": 32e9, "dram": 12e9}
    assert (dram.weights, dram.activations) == ("dram", "dram")
    assert memories(find("u55-256-flash")).bytes_per_s == {"sram": 4e9, "flash": 0.5e9}


@pytest.mark.parametrize("name", names())
def test_every_configuration_says_its_memory_mode_and_array(name: str) -> None:
    configuration = find(name)
    assert configuration.memory_mode != "Sram_Only", "it pretends that all weights lie in SRAM"
    assert configuration.macs_per_cycle in (256, 1024)
    assert configuration.has_matmul == ("u85" in name)


def test_one_s_own_configuration_and_ini_are_used(tmp_path: Path) -> None:
    configuration = own(tmp_path)
    assert ini_path(configuration) == tmp_path / "mine.ini"
    assert memories(configuration).bytes_per_s == {"sram": 200e6 * 16, "flash": 200e6 * 16 / 8}
    before = configuration.digest()
    assert own(tmp_path, INI.replace("200e6", "400e6")).digest() != before, "what the file says is part of its identity"


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("core_clock=200e6", "core_clock=fast", 3, "core_clock is 'fast'"),
        ("core_clock=200e6", "core_clock=-1", 3, "core_clock is '-1'"),
        ("core_clock=200e6\n", "", 2, "lacks core_clock"),
        ("axi1_port=OffChipFlash", "axi1_port=Disk", 5, "'Disk'"),
        ("const_mem_area=Axi1", "const_mem_area=Axi7", 9, "'Axi7'"),
        ("const_mem_area=Axi1", "inherit=Memory_Mode.Gone", 9, "no section [Memory_Mode.Gone]"),
        ("axi0_port=Sram", "axi0_port=Sram\naxi0_port=Sram", 5, "DuplicateOptionError"),
        ("axi0_port=Sram", "just words", 4, "ParsingError"),
    ],
)
def test_a_wrong_ini_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    configuration = own(tmp_path, INI.replace(old, new))
    with pytest.raises(UsageError) as caught:
        memories(configuration)
    assert f"mine.ini, line {line}: " in caught.value.message
    assert what in caught.value.message


def test_a_section_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no section \[System_Config.Other\]") as caught:
        memories(own(tmp_path, toml=OWN.replace('"Mine"', '"Other"')))
    assert "Mine" in caught.value.hint


@pytest.mark.parametrize("toml", ["accelerator = 3", "x = ", OWN + 'colour = "red"', OWN.replace("-256", "-none")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, toml: str) -> None:
    with pytest.raises(UsageError, match=r"is not a readable configuration|is not TOML"):
        own(tmp_path, toml=toml)


def test_an_unknown_configuration_is_answered_with_the_list() -> None:
    with pytest.raises(UsageError, match="no configuration 'u99'") as caught:
        find_target("npu", device="u99")
    assert all(name in caught.value.hint for name in names())


def test_without_the_extra_the_target_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    import harness.targets.simulated.target as module

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", version)
    state = find_target("npu").availability()
    assert not state.available
    assert "pip install 'edge-harness[npu]'" in state.todo
