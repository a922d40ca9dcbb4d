"""OpenSSH's own client against a real `sshd` on loopback, with keys and a port of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.processes import ends

from harness.errors import UsageError, WorkerError
from harness.manifest import sha256_file
from harness.targets.arm64 import Arm64
from harness.targets.transports.remote import Remote
from harness.targets.transports.ssh import Ssh

PATIENCE_S = 120.0


class Board:
    """An sshd for this user. `home` is where its sessions keep files; `limit_kb`, if it is set, how large any may
    become.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "ho me"
        self.home.mkdir()
        for name in ("host", "other", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        forced = folder / "forced"
        forced.write_text(
            f'#!/bin/sh\ntrap "" XFSZ\n[ -f {folder}/limit_kb ] && ulimit -f $(cat {folder}/limit_kb)\n'
            'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        forced.chmod(0o755)
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
            f"StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f'ForceCommand {forced}\nSetEnv "HOME={self.home}" "XDG_CACHE_HOME={self.home}"\n'
        )
        self.know("host")
        (folder / "config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {folder}/user\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n  GlobalKnownHostsFile none\n"
            "  KexAlgorithms curve25519-sha256\n"  # the quickest: a test makes a dozen connections
        )
        # The client reads the configuration in the user's home by the password file, which a test cannot move.
        client = folder / "bin/ssh"
        client.parent.mkdir()
        client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        client.chmod(0o755)
        self.start()

    def start(self) -> None:
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "sshd"
        self.process = subprocess.Popen([sshd, "-D", "-f", self.folder / "sshd_config"], process_group=0)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, "sshd ended"
            time.sleep(0.02)

    def know(self, key: str) -> None:
        """What the client takes for the key of the host."""
        public = (self.folder / f"{key}.pub").read_text().split()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")

    def vanish(self) -> None:
        """The daemon and all its sessions."""
        for child in _descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def _descendants(pid: int) -> list[int]:
    """Processes of sshd itself below a process: not the shells that they started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")
        except OSError:
            continue
        if fields[2].split()[1] == str(pid) and "(sshd" in fields[0]:
            found += [*_descendants(int(stat.parent.name)), int(stat.parent.name)]
    return found


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    if shutil.which("ssh") is None or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") is None:
        pytest.skip("sshd is not installed: `apt-get install openssh-server`")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists, and it goes with every start of the machine
    found = Board(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    yield found
    found.vanish()


@pytest.fixture
def device(board: Board) -> Remote:
    return Remote(Ssh("board"))


def test_a_file_is_sent_once_whatever_it_is_called(device: Remote, board: Board, tmp_path: Path) -> None:
    (board.home / "precious").write_text("here")
    for name in ("a; rm -rf $HOME .pte", "$(touch HACKED)", "host:file", "-oProxyCommand=x", "new\nline"):
        file = tmp_path / name
        file.write_bytes(os.urandom(100_000))
        path = device.put(file, sha256_file(file))
        assert Path(path).read_bytes() == file.read_bytes()
    made = Path(path).stat().st_mtime_ns
    assert Remote(Ssh("board")).put(file, sha256_file(file)) == path
    assert Path(path).stat().st_mtime_ns == made
    assert Path(path).is_relative_to(board.home / "harness-device/files")
    assert (board.home / "precious").read_text() == "here"
    assert not list(tmp_path.rglob("HACKED"))


def test_a_folder_of_programs_arrives_and_runs(device: Remote, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "runner").write_text('#!/bin/sh\nread -r line; echo "$line, $1"; echo noise >&2; exit 3\n')
    (bundle / "lib it.so").write_bytes(b"x")
    folder = device.put_folder(bundle, "k")
    assert {path.name for path in Path(folder).iterdir()} == {"runner", "lib it.so"}
    process = device.start([f"{folder}/runner", "an 'argument' $HOME"], "the request", {})
    assert list(process.lines(PATIENCE_S)) == ["the request, an 'argument' $HOME"]
    assert process.close() == 3
    assert process.stderr_tail().strip() == "noise"


def test_a_folder_of_a_job_comes_and_goes(device: Remote) -> None:
    folder = device.make_folder()
    Path(folder, "out").write_bytes(b"1\0\n2")
    assert device.read(f"{folder}/out") == b"1\0\n2"
    device.remove_folder(folder)
    assert not Path(folder).exists()
    with pytest.raises(WorkerError, match="No such file"):
        device.read(f"{folder}/out")


@pytest.mark.parametrize("end", ["timeout", "kill"])
def test_a_worker_that_is_ended_here_ends_there(device: Remote, end: str) -> None:
    """sshd itself would let it run on."""
    process = device.start(["/bin/sh", "-c", "echo $$; exec sleep 77"], "x", {})
    lines = process.lines(3.0)
    pid = int(next(lines))
    if end == "timeout":
        with pytest.raises(WorkerError) as caught:
            list(lines)
        assert caught.value.kind == "timeout"
    process.kill()
    assert ends(pid, PATIENCE_S)


def test_a_connection_that_breaks_fails_the_job_leaves_no_process_and_can_be_taken_up_again(
    device: Remote, board: Board, tmp_path: Path
) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"weights")
    path = device.put(file, sha256_file(file))
    process = device.start(["/bin/sh", "-c", "echo $$; exec sleep 99"], "x", {})
    lines = process.lines(PATIENCE_S)
    pid = int(next(lines))
    board.vanish()
    with pytest.raises(WorkerError, match="cannot be reached") as caught:
        list(lines)
    assert caught.value.kind == "device"
    assert process.close() is None
    assert ends(pid, PATIENCE_S)
    with pytest.raises(WorkerError, match="cannot be reached"):
        device.put(file, sha256_file(file))
    board.start()
    made = Path(path).stat().st_mtime_ns
    assert device.put(file, sha256_file(file)) == path
    assert Path(path).stat().st_mtime_ns == made


def test_a_full_disk_is_one_sentence_and_leaves_nothing(device: Remote, board: Board, tmp_path: Path) -> None:
    """By a limit on the size of a file: the same end of the same `cat`."""
    file = tmp_path / "model"
    file.write_bytes(os.urandom(300_000))
    (board.folder / "limit_kb").write_text("100")
    with pytest.raises(WorkerError, match="no room left") as caught:
        device.put(file, sha256_file(file))
    assert "harness-device" in caught.value.hint
    assert not list((board.home / "harness-device/files").iterdir())
    (board.folder / "limit_kb").unlink()
    assert Path(device.put(file, sha256_file(file))).stat().st_size == 300_000


def test_another_host_key_is_refused_with_the_command_that_mends_it(device: Remote, board: Board) -> None:
    board.know("other")
    with pytest.raises(WorkerError, match="is not the one that is known") as caught:
        device.machine()
    assert "ssh-keygen -R board" in caught.value.hint
    (board.folder / "known").write_text("")
    with pytest.raises(WorkerError, match="is not known yet") as caught:
        device.machine()
    assert "`ssh board` once" in caught.value.hint
    state = Arm64("ssh:board").availability()
    assert "is not known yet" in state.reason


def test_a_key_that_is_refused_and_a_host_that_there_is_not(device: Remote, board: Board) -> None:
    (board.folder / "authorized").write_text("")
    with pytest.raises(WorkerError, match="lets no key") as caught:
        device.machine()
    assert "ssh-copy-id board" in caught.value.hint
    with pytest.raises(WorkerError, match="cannot be reached"):
        Remote(Ssh("nowhere.invalid")).machine()


def test_a_host_is_never_an_option(tmp_path: Path) -> None:
    for host in ("-oProxyCommand=touch HACKED", "-v", "", " ", "a b", "a\nb"):
        with pytest.raises(UsageError, match="no host for ssh"):
            Ssh(host)


def test_its_conditions_are_this_machines(device: Remote) -> None:
    found = {reading.name: reading for reading in device.describe()}
    assert found["machine"].value == os.uname().machine == device.machine()
    assert found["logical_cpus"].value == str(os.cpu_count())
    assert float(found["clock_s"].value or 0) > 0
    assert float(found["cpu_busy_s"].value or 0) > 0
    assert all(reading.value is not None or reading.reason for reading in found.values())
    before = float(found["harness_cpu_s"].value or 0)
    list(device.start(["/bin/sh", "-c", "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done"], "x", {}).lines(60.0))
    after = next(r for r in device.describe() if r.name == "harness_cpu_s")
    assert float(after.value or 0) > before + 0.05
