"""The real `adb` client against a loopback daemon. The device is a folder, its worker the x86-64 stand-in
(fakes/phone.py): what only a phone can show is not shown here.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.phone import PATIENCE_S, Attach, Phone, gone, kept
from native_driving import job_of

from harness.cli.devices import devices as command
from harness.conditions.flags import flags
from harness.errors import WorkerError
from harness.manifest import sha256_file
from harness.measurement import Measurement
from harness.targets.arm64 import Arm64
from harness.targets.transports import adb
from harness.targets.transports.adb import Adb
from harness.targets.transports.remote import Remote


def shell_worker(device: Remote, script: str) -> tuple[object, list[str]]:
    process = device.start(["/bin/sh", "-c", script], "the request", {})
    return process, list(process.lines(PATIENCE_S))


# Files.


def test_a_file_is_sent_once_and_found_by_the_next_run(device: Remote, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "model.pte"
    file.write_bytes(os.urandom(300_000))
    path = device.put(file, sha256_file(file))
    there = phone.root / path.lstrip("/")
    assert there.read_bytes() == file.read_bytes()
    assert there.name == sha256_file(file)
    before = there.stat()
    again = Remote(Adb(phone.serial))
    assert again.put(file, sha256_file(file)) == path
    after = there.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert again.read(path) == file.read_bytes()


@pytest.mark.parametrize(
    "name", ["a; rm -rf $HOME .pte", "$(touch HACKED).pte", "-x", "quote'\"`.pte", "new\nline", "host:file", "ü 日.pte"]
)
def test_names_mean_nothing_to_any_shell(device: Remote, phone: Phone, tmp_path: Path, name: str) -> None:
    precious = phone.root / "precious"
    precious.write_text("here")
    file = tmp_path / name
    file.write_bytes(b"weights")
    assert device.read(device.put(file, sha256_file(file))) == b"weights"
    process, lines = shell_worker(device, "IFS= read -r line; printf '%s\\n' \"$line\"")
    assert lines == ["the request"]
    process = device.start(["/bin/sh", "-c", 'printf "%s\\n" "$1" "$WORD"', "sh", name], "x", {"WORD": name})
    assert "\n".join(process.lines(PATIENCE_S)) == f"{name}\n{name}"
    assert process.close() == 0
    assert precious.read_text() == "here"
    assert not list(tmp_path.rglob("HACKED"))


def test_a_file_that_was_damaged_there_is_sent_again(device: Remote, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "model.pte"
    file.write_bytes(b"w" * 1000)
    there = phone.root / device.put(file, sha256_file(file)).lstrip("/")
    there.write_bytes(b"w" * 999)
    Remote(Adb(phone.serial)).put(file, sha256_file(file))
    assert there.read_bytes() == file.read_bytes()


def test_what_is_not_what_its_hash_says_never_gets_its_name(device: Remote, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "model.pte"
    file.write_bytes(b"other")
    with pytest.raises(WorkerError, match="did not arrive whole"):
        device.put(file, hashlib.sha256(b"one").hexdigest())
    assert not list((kept(phone) / "files").iterdir())


def test_half_a_bundle_is_completed_and_a_whole_one_is_not_sent(device: Remote, phone: Phone, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for number in range(3):
        (bundle / f"lib {number}.so").write_bytes(bytes([number]) * 5000)
    device.put(bundle / "lib 0.so", sha256_file(bundle / "lib 0.so"))
    first = next((kept(phone) / "files").iterdir())
    inode = first.stat().st_ino
    (kept(phone) / "bundles/k1.part").mkdir()
    folder = phone.root / Remote(Adb(phone.serial)).put_folder(bundle, "k1").lstrip("/")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in bundle.iterdir()
    }
    assert first.stat().st_ino == inode
    assert all(os.access(path, os.X_OK) for path in folder.iterdir())
    made = folder.stat().st_ino
    Remote(Adb(phone.serial)).put_folder(bundle, "k1")
    assert folder.stat().st_ino == made
    (folder / "lib 2.so").unlink()
    Remote(Adb(phone.serial)).put_folder(bundle, "k1")
    assert (folder / "lib 2.so").read_bytes() == b"\2" * 5000


def test_a_full_disk_is_one_sentence_and_leaves_nothing(attach: Attach, tmp_path: Path) -> None:
    phone = attach("--room", "100000")
    file = tmp_path / "model.pte"
    file.write_bytes(os.urandom(300_000))
    with pytest.raises(WorkerError, match="no room left") as caught:
        Remote(Adb(phone.serial)).put(file, sha256_file(file))
    assert caught.value.kind == "device"
    assert adb.FOLDER in caught.value.hint
    assert not list((kept(phone) / "files").iterdir())


# Processes.


def test_exit_codes_signals_and_both_outputs_come_back(device: Remote) -> None:
    process = device.start(["/bin/sh", "-c", "echo out; echo err >&2; exit 7"], "x", {})
    assert list(process.lines(PATIENCE_S)) == ["out"]
    assert process.close() == 7
    assert process.stderr_tail().strip() == "err"
    process = device.start(["/bin/sh", "-c", "kill -SEGV $$"], "x", {})
    assert list(process.lines(PATIENCE_S)) == []
    assert process.close() == -signal.SIGSEGV


def test_a_worker_that_cannot_be_started_says_why(device: Remote, phone: Phone) -> None:
    program = phone.root / "arm"
    program.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0" + bytes(100))
    program.chmod(0o755)
    with pytest.raises(WorkerError, match="cannot start the worker") as caught:
        list(device.start(["/arm"], "x", {}).lines(PATIENCE_S))
    assert caught.value.kind == "device"


@pytest.mark.parametrize("end", ["timeout", "kill"])
def test_a_worker_that_is_ended_here_ends_there(device: Remote, phone: Phone, end: str) -> None:
    process = device.start(["/bin/sleep", "77"], "x", {})
    if end == "timeout":
        with pytest.raises(WorkerError) as caught:
            list(process.lines(0.5))
        assert caught.value.kind == "timeout"
    assert process.kill() == -9
    assert gone(phone, "77")


def test_a_killed_harness_leaves_nothing_on_the_device(phone: Phone) -> None:
    """The harness is another process, which is given no chance to tidy up."""
    script = (
        "import sys, time\nfrom harness.targets.transports.adb import Adb\n"
        "from harness.targets.transports.remote import Remote\n"
        "p = Remote(Adb(sys.argv[1])).start(['/bin/sh', '-c', 'echo ready; exec sleep 88'], 'x', {})\n"
        "print(next(p.lines(20.0)), flush=True)\ntime.sleep(60)\n"
    )
    harness = subprocess.Popen([sys.executable, "-P", "-c", script, phone.serial], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    assert harness.stdout.readline().strip() == "ready"
    harness.kill()
    harness.wait()
    harness.stdout.close()
    assert gone(phone, "88")


def test_a_device_that_vanishes_fails_the_job_and_leaves_no_process(device: Remote, phone: Phone) -> None:
    process = device.start(["/bin/sh", "-c", "echo $$ > /pid; echo ready; exec sleep 99"], "x", {})
    lines = process.lines(PATIENCE_S)
    assert next(lines) == "ready"
    phone.vanish()
    with pytest.raises(WorkerError, match="went away") as caught:
        list(lines)
    assert caught.value.kind == "device"
    assert process.close() is None
    assert gone(phone, "99")
    device.remove_folder("/data/local/tmp/harness/jobs/1")
    assert {reading.value for reading in device.describe()} == {None}


def test_a_stream_that_ends_without_an_exit_code_is_no_success(attach: Attach) -> None:
    """adb itself says 0 then."""
    phone = attach("--mute", "MUTED")
    assert subprocess.run(["adb", "-s", phone.serial, "shell", "echo MUTED"], capture_output=True).returncode == 0
    device = Remote(Adb(phone.serial))
    process = device.start(["/bin/sh", "-c", "echo MUTED"], "x", {})
    with pytest.raises(WorkerError, match="went away"):
        list(process.lines(PATIENCE_S))
    with pytest.raises(WorkerError, match="went away"):
        device.read("/MUTED")


# Choosing.


def test_the_only_device_is_chosen_and_of_two_none(attach: Attach, monkeypatch: pytest.MonkeyPatch) -> None:
    first = attach(machine="aarch64")
    assert adb.choose(None) == first.serial
    second = attach()
    with pytest.raises(WorkerError, match="2 Android devices are attached") as caught:
        adb.choose(None)
    assert "--device adb:127.0.0.1:" in caught.value.hint
    assert adb.choose(second.serial) == second.serial
    monkeypatch.setenv("ANDROID_SERIAL", first.serial)
    assert adb.choose(None) == first.serial


def test_a_device_that_is_not_there_is_named(attach: Attach) -> None:
    with pytest.raises(WorkerError, match="No Android device"):
        adb.choose(None)
    with pytest.raises(WorkerError, match="sees no device R58") as caught:
        adb.choose("R58")
    assert "adb devices" in caught.value.hint
    with pytest.raises(WorkerError, match="sees no device 10") as caught:
        adb.choose("10.0.0.1:5555")
    assert "adb connect 10.0.0.1:5555" in caught.value.hint


def test_an_unauthorised_device_says_what_to_tap(attach: Attach) -> None:
    phone = attach("--unauthorized")
    with pytest.raises(WorkerError, match="has not authorised this computer") as caught:
        adb.choose(phone.serial)
    assert "allow USB debugging" in caught.value.hint
    state = Arm64("adb").availability()
    assert "not authorised" in state.reason


def test_without_adb_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not adb.may_be_attached()
    with pytest.raises(WorkerError, match="adb is not installed") as caught:
        adb.attached()
    assert "apt-get install adb" in caught.value.hint
    assert "not installed" in Arm64("adb").availability().reason


def test_an_attached_device_is_what_arm64_means(attach: Attach) -> None:
    phone = attach(machine="aarch64")
    target = Arm64()
    assert target.device() == f"adb {phone.serial}"
    assert target.capabilities.latency == "measured"
    assert "emulated" in Arm64("qemu").device()


def test_the_command_shows_what_can_be_read_of_it(attach: Attach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    phone = attach(machine="aarch64")
    (phone.root / "thermal.txt").write_text("")
    said = CliRunner().invoke(command, ["--json"])
    assert said.exit_code == 0, said.output
    (row,) = json.loads(said.output)["data"]
    assert row["device"] == f"adb:{phone.serial}"
    assert (row["reachable"], row["target"], row["reason"]) == (True, "arm64", None)
    assert row["can_read"] == ["clock", "governor", "temperature", "charging"]
    text = CliRunner().invoke(command, env={"COLUMNS": "200"}).output
    assert "Acme Fake 8, QTI SM8550" in text
    assert "28.9 °C, walt, charging" in text


def test_a_device_of_another_kind_is_refused(phone: Phone) -> None:
    state = Arm64(f"adb:{phone.serial}").availability()
    assert not state.available
    assert "x86_64, not arm64" in state.reason


def test_its_conditions_are_read_and_flagged(phone: Phone, device: Remote) -> None:
    before = device.describe()
    found = {reading.name: reading.value for reading in before}
    assert found["device_model"] == "Acme Fake 8"
    assert found["soc"] == "QTI SM8550"
    assert found["abi"] == "arm64-v8a"
    assert found["android_build"] == "acme/fake/fake:14/UP1A/1:user/release-keys"
    assert found["cpu_max_mhz"] == "2000 2000 2000 2000 3000 3000 3000 3000"
    assert found["frequency_governor"] == "walt"
    assert found["temperature_celsius"] == "39.3"
    assert found["battery_status"] == "charging"
    assert (found["clock_s"], found["cpu_busy_s"]) == ("1000.50", "15.50")
    (phone.root / "sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq").write_text("1800000\n")
    job = job_of(Arm64("qemu"), Path("none"), cpus=(0,))
    assert flags(before, device.describe(), job, Measurement()) == [
        "charging",
        "governor_not_performance",
        "throttled",
    ]
