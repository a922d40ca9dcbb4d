"""The real `adb` client against a loopback daemon. The device is a folder, its worker the x86-64 stand-in
(fakes/phone.py): what only a phone can show is not shown here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.phone import TOOLS, Phone, emulate_arm64, make_root, make_stand_in
from models_on_disk import Models
from native_driving import events_of, job_of, samples_of, scalars_of

from harness.cli.devices import devices as command
from harness.conditions.flags import flags
from harness.errors import WorkerError
from harness.job import Files
from harness.manifest import sha256_file
from harness.measurement import Measurement
from harness.protocol import Done, Hello, Memory, Output
from harness.runner import run_job
from harness.targets import arm64 as target_module
from harness.targets.arm64 import Arm64
from harness.targets.native import build
from harness.targets.native.bundle import Bundle
from harness.targets.transports import adb
from harness.targets.transports.adb import Adb
from harness.targets.transports.remote import Remote

Attach = Callable[..., Phone]
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An adb server of our own, with keys of its own."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: `apt-get install adb mksh toybox`")
    if subprocess.run(["unshare", "--map-root-user", "chroot", "/", "true"], capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody change its root folder: unshare --map-root-user fails")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    found = {"ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(home), "ANDROID_SDK_HOME": str(home)}
    yield found
    subprocess.run(["adb", "kill-server"], env=os.environ | found, capture_output=True, check=False, timeout=30)


@pytest.fixture
def attach(server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attach]:
    """Makes a phone and connects it; all go at the end."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    adb.attached()  # starts the server where no command's pipes can be held by it
    phones: list[Phone] = []

    def make(*options: str, machine: str | None = None) -> Phone:
        root = make_root(tmp_path / f"root{len(phones)}", machine=machine)
        phones.append(Phone(root, *options))
        phones[-1].connect()
        return phones[-1]

    yield make
    for phone in phones:
        phone.vanish()
        subprocess.run(["adb", "disconnect", phone.serial], capture_output=True, check=False, timeout=30)


@pytest.fixture
def phone(attach: Attach) -> Phone:
    return attach()


@pytest.fixture
def device(phone: Phone) -> Remote:
    return Remote(Adb(phone.serial))


@pytest.fixture
def stand_in(attach: Attach, x86: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """A phone that runs the x86-64 worker, and a target that takes it for its own."""
    bundle = make_stand_in(x86, tmp_path / "bundle")
    monkeypatch.setattr(build, "bundle", lambda machine: bundle)
    monkeypatch.setattr(target_module, "_MACHINE", "x86_64")
    return attach()


def kept(phone: Phone) -> Path:
    return phone.root / adb.FOLDER.lstrip("/")


def shell_worker(device: Remote, script: str) -> tuple[object, list[str]]:
    process = device.start(["/bin/sh", "-c", script], "the request", {})
    return process, list(process.lines(PATIENCE_S))


def eventually(path: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or not path.read_text().strip():
        assert time.monotonic() < deadline, f"{path} was never written"
        time.sleep(0.02)
    return path.read_text().strip()


def gone(phone: Phone, marker: str) -> bool:
    """Whether no process with `marker` in its command line is left in the phone."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = False
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                found |= marker.encode() in command and Path(os.readlink(folder / "root")) == phone.root
            except OSError:
                continue
        if not found:
            return True
        time.sleep(0.05)
    return False


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
    assert adb.FOLDER in caught.value.todo
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
    harness = subprocess.Popen([sys.executable, "-c", script, phone.serial], stdout=subprocess.PIPE, text=True)
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
    assert "--device adb:127.0.0.1:" in caught.value.todo
    assert adb.choose(second.serial) == second.serial
    monkeypatch.setenv("ANDROID_SERIAL", first.serial)
    assert adb.choose(None) == first.serial


def test_a_device_that_is_not_there_is_named(attach: Attach) -> None:
    with pytest.raises(WorkerError, match="No Android device"):
        adb.choose(None)
    with pytest.raises(WorkerError, match="sees no device R58") as caught:
        adb.choose("R58")
    assert "adb devices" in caught.value.todo
    with pytest.raises(WorkerError, match="sees no device 10") as caught:
        adb.choose("10.0.0.1:5555")
    assert "adb connect 10.0.0.1:5555" in caught.value.todo


def test_an_unauthorised_device_says_what_to_tap(attach: Attach) -> None:
    phone = attach("--unauthorized")
    with pytest.raises(WorkerError, match="has not authorised this computer") as caught:
        adb.choose(phone.serial)
    assert "allow USB debugging" in caught.value.todo
    state = Arm64("adb").availability()
    assert "not authorised" in state.reason


def test_without_adb_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not adb.may_be_attached()
    with pytest.raises(WorkerError, match="adb is not installed") as caught:
        adb.attached()
    assert "apt-get install adb" in caught.value.todo
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
    (row,) = json.loads(said.output)
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


# A whole job.


def test_a_job_runs_there_and_the_next_one_sends_nothing(
    stand_in: Phone, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "a; rm -rf $HOME .pte"
    shutil.copy(models.mlp, model)
    target = Arm64(f"adb:{stand_in.serial}")
    assert target.availability().available
    events = events_of(target, job_of(target, model), model)
    assert isinstance(events[0], Hello)
    assert isinstance(events[-1], Done), events[-1]
    assert all(duration > 0 for duration in samples_of(events)["steady"].duration_ns or [0])
    job = job_of(target, model, measure="quality", reference_sha256="0" * 64)
    folder = tmp_path / "out"
    folder.mkdir()
    assert any(isinstance(event, Output) for event in events_of(target, job, model, output=str(folder)))
    assert not list((kept(stand_in) / "jobs").iterdir())
    pushed: list[Path] = []
    real = Adb.push
    monkeypatch.setattr(Adb, "push", lambda self, file, path: pushed.append(file) or real(self, file, path))
    again = Arm64(f"adb:{stand_in.serial}")
    events = events_of(again, job_of(again, model, measure="memory"), model)
    assert any(isinstance(event, Memory) for event in events)
    assert pushed == []


def test_the_arm64_bundle_needs_nothing_that_android_lacks(
    attach: Attach, arm64: Bundle, models: Models, tmp_path: Path
) -> None:
    """The very bundle that a phone would get, started by Android's shell in a root without any C library for it. Its
    processor is QEMU's: what it computes can be checked, how fast cannot.
    """
    phone = attach()
    emulate_arm64(phone.root)
    target = Arm64(f"adb:{phone.serial}")
    assert target.availability().available
    job = job_of(target, models.mlp, measure="quality", reference_sha256="0" * 64)
    events = events_of(target, job, models.mlp, output=str(tmp_path))
    assert isinstance(events[-1], Done), events[-1]
    found = scalars_of(events)
    assert found["argmax_agreement_x86"] == 1.0
    assert 0 <= (found["max_abs_difference_x86"] or 0.0) < 1e-5


def test_a_vanished_device_is_a_failed_row_and_the_same_run_goes_on_when_it_is_back(
    stand_in: Phone, models: Models
) -> None:
    target = Arm64(f"adb:{stand_in.serial}")
    endless = job_of(target, models.mlp, min_duration_s=300.0, max_duration_s=300.0)
    files = Files(model=str(models.mlp))
    known = {"session_id": "s", "position": 0, "timeout_s": 60.0, "model_bytes": 1}
    real = target.launch

    def launch(job: object, files: Files) -> object:
        process = real(job, files)  # type: ignore[arg-type]
        stand_in.vanish()
        return process

    target.launch = launch  # type: ignore[method-assign, assignment]
    attempt = run_job(target, endless, files, **known)  # type: ignore[arg-type]
    assert attempt.status == "failed"
    assert attempt.error is not None
    assert (attempt.error.kind, "went away" in str(attempt.error)) == ("device", True)
    assert gone(stand_in, "runner")
    target.launch = real  # type: ignore[method-assign]
    back = Phone(stand_in.root)
    try:
        again = Arm64(f"adb:{back.connect()}")
        assert run_job(again, job_of(again, models.mlp), files, **known).status == "ok"  # type: ignore[arg-type]
    finally:
        back.vanish()


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
