"""devices.toml, and `harness devices`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.devices import devices as command
from harness.errors import UsageError
from harness.experiment.request import RunRequest
from harness.experiment.sweeps import sweeps_of
from harness.target import Conditioned, find_target
from harness.targets.arm64 import Arm64
from harness.targets.transports.devices import Device, read_devices

FILE = """
default = "board"
[phone]
transport = "adb"
serial = "R58N"
cpus = [7, 4, 4]
wait_below_celsius = 38.5
wait_limit_s = 60
governor = "walt"
[board]
transport = "ssh"
host = "pi@board.invalid"
folder = "/mnt/my disk"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, and no adb."""
    path = tmp_path / "devices.toml"
    path.write_text(FILE)
    monkeypatch.setenv("HARNESS_DEVICES", str(path))
    monkeypatch.setattr("harness.targets.transports.adb.PROGRAM", "adb-that-there-is-not")
    return path


def test_a_device_is_what_its_table_says(file: Path) -> None:
    known = read_devices()
    assert known.default == "board"
    assert known.by_name["phone"] == Device(
        transport="adb",
        name="phone",
        address="R58N",
        cpus=(4, 7),
        governor="walt",
        wait_below_celsius=38.5,
        wait_limit_s=60.0,
    )
    assert known.by_name["board"] == Device(
        transport="ssh", name="board", address="pi@board.invalid", folder="/mnt/my disk"
    )


def test_an_address_needs_no_file() -> None:
    known = read_devices(Path("/dev/null"))
    assert known.find("adb") == Device(transport="adb")
    assert known.find("adb:10.0.0.1:5555") == Device(transport="adb", address="10.0.0.1:5555")
    assert known.find("ssh:pi@board") == Device(transport="ssh", address="pi@board")
    assert known.find("ssh") is known.find("ssh:") is known.find("phone") is known.find("qemu:max") is None


def test_the_default_of_the_file_is_what_arm64_means_and_device_overrides_it(file: Path) -> None:
    assert Arm64().device() == "board"
    phone = find_target("arm64", device="phone", devices=str(file))
    assert phone.device() == "phone"
    assert isinstance(phone, Conditioned)
    assert phone.cpus == (4, 7)
    assert "emulated" in Arm64("qemu").device()
    with pytest.raises(UsageError, match="no device 'tablet'") as caught:
        Arm64("tablet")
    assert "phone, board, adb:SERIAL" in caught.value.hint


def test_a_run_pins_to_the_processors_of_the_file_unless_it_names_others(file: Path) -> None:
    request = RunRequest(target="arm64", models="m.pte")
    assert sweeps_of(request, Arm64("phone")).swept["cpus"] == [(4, 7)]
    assert sweeps_of(replace(request, cpus="0-1"), Arm64("phone")).swept["cpus"] == [(0, 1)]
    assert sweeps_of(request, Arm64("board")).swept["cpus"] == [None]


def test_what_is_wanted_is_recorded_with_the_state(file: Path) -> None:
    found = {reading.name: reading.value for reading in Arm64("phone").environment()}
    assert found["governor_expected"] == "walt"
    assert found["temperature_wanted_celsius"] == "38.5"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[phone", "not TOML"),
        ("phone = 1", "no table"),
        ("[phone]", "its transport is None"),
        ('[phone]\ntransport = "usb"', "its transport is 'usb'"),
        ('[phone]\ntransport = "adb"\nserail = "x"', "there is no serail"),
        ('[phone]\ntransport = "adb"\nserial = 5', "serial is not text"),
        ('[phone]\ntransport = "adb"\ncpus = "4-7"', "cpus is not a list"),
        ('[phone]\ntransport = "adb"\ncpus = []', "cpus is not a list"),
        ('[phone]\ntransport = "adb"\ncpus = [true]', "cpus is not a list"),
        ('[phone]\ntransport = "adb"\ncpus = [-1]', "cpus is not a list"),
        ('[phone]\ntransport = "adb"\nwait_below_celsius = nan', "not a number"),
        ('[phone]\ntransport = "adb"\nwait_limit_s = inf', "not a number"),
        ('[phone]\ntransport = "adb"\nwait_below_celsius = true', "not a number"),
        ('[board]\ntransport = "ssh"', "it has no host"),
        ('[qemu]\ntransport = "adb"', "a meaning of its own"),
        ('["adb:1"]\ntransport = "adb"', "a meaning of its own"),
        ('default = "x"', "no device 'x'"),
        ("default = [1]", "no device"),
    ],
)
def test_a_file_with_a_mistake_is_refused_in_a_sentence(file: Path, text: str, word: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=word) as caught:
        read_devices()
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_a_file_that_was_named_must_be_there_the_usual_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_devices(tmp_path / "none.toml")
    monkeypatch.setenv("HARNESS_DEVICES", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_devices()
    monkeypatch.delenv("HARNESS_DEVICES")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read_devices().by_name == {}
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness/devices.toml").write_text(FILE)
    assert list(read_devices().by_name) == ["phone", "board"]


def test_the_command_shows_what_cannot_be_reached_and_why(file: Path) -> None:
    said = CliRunner().invoke(command, ["--json"])
    assert said.exit_code == 0, said.output
    phone, board = json.loads(said.output)["data"]
    assert (phone["device"], phone["reachable"], phone["default"]) == ("phone", False, False)
    assert "not installed" in phone["reason"]
    assert (board["device"], board["reachable"], board["default"]) == ("board", False, True)
    assert "cannot be reached" in board["reason"]
    text = CliRunner().invoke(command, ["--devices", str(file)], env={"COLUMNS": "200"}).output
    assert "board (default)" in text
    assert "phone: adb" in text


def test_the_command_says_where_a_device_would_be_named(file: Path) -> None:
    file.write_text("")
    said = CliRunner().invoke(command)
    assert said.exit_code == 0
    assert str(file) in said.output
    assert "--help" in said.output
