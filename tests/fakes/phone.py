"""A phone that is none: a folder with the shell and the tools of Android (mksh, toybox), behind a real `adb`.

Its "worker" is the x86-64 build of the native worker, a stand-in for the arm64 one that this machine's kernel can run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.targets.native import build
from harness.targets.native.bundle import Bundle, read_bundle, write_bundle
from harness.targets.transports import adb, qemu

PATIENCE_S = 120.0
ADBD = Path(__file__).with_name("adbd.py")
TOOLS = ("adb", "mksh", "toybox", "unshare", "chroot")
APPLETS = (
    *("cat", "chmod", "cp", "env", "find", "ln", "mkdir", "mv", "rm", "sha256sum", "sleep", "tr", "uname"),
    "printf",
)
# Of a phone of four small and four big processors; only what the test reads of it is made up.
PROPERTIES = {
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Fake 8",
    "ro.soc.manufacturer": "QTI",
    "ro.soc.model": "SM8550",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.fingerprint": "acme/fake/fake:14/UP1A/1:user/release-keys",
}
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 87
  temperature: 289
  status: 2
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=33.1, mType=0, mName=CPU0, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=39.3, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=28.9, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=0.0, mType=1, mName=GPU0, mStatus=0}
"""


def make_root(root: Path, *, machine: str | None = None) -> Path:
    """The device's file system. `machine` is what its `uname -m` claims."""
    for folder in ("bin", "dev", "proc", "data/local/tmp", "sys/devices/system/cpu"):
        (root / folder).mkdir(parents=True)
    for name, place in (("mksh", "bin/sh"), ("toybox", "bin/toybox")):
        _copy(Path(shutil.which(name) or name), root, root / place)
    for name in APPLETS:
        (root / "bin" / name).symlink_to("toybox")
    try:
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        (root / "dev/null").touch(0o666)
    # XNNPACK of the stand-in looks at these; a phone shows its own.
    for name in ("proc/cpuinfo", "sys/devices/system/cpu/possible", "sys/devices/system/cpu/present"):
        (root / name).write_text(Path("/", name).read_text())
    (root / "proc/uptime").write_text("1000.50 7000.00\n")
    (root / "proc/stat").write_text("cpu  1000 0 500 9000 10 20 30 0 0 0\n" + "".join(f"cpu{n} 0\n" for n in range(8)))
    for cpu in range(8):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True)
        top = "2000000" if cpu < 4 else "3000000"
        for name, value in (
            *(("cpuinfo_max_freq", top), ("scaling_max_freq", top), ("scaling_cur_freq", "300000")),
            ("scaling_governor", "walt"),
        ):
            (folder / name).write_text(value + "\n")
    branches = "".join(f"'{name}') echo '{value}';;\n" for name, value in PROPERTIES.items())
    _program(root / "bin/getprop", f'case "$1" in\n{branches}esac\n')
    (root / "battery.txt").write_text(BATTERY)
    (root / "thermal.txt").write_text(THERMAL)
    _program(root / "bin/dumpsys", 'case "$1" in battery) cat /battery.txt;; *) cat /thermal.txt;; esac\n')
    if machine is not None:
        (root / "bin/uname").unlink()
        _program(root / "bin/uname", f'case "$1" in -m) echo {machine};; *) echo Linux 5.15.104-android14;; esac\n')
    return root


def make_stand_in(bundle: Bundle, folder: Path) -> Bundle:
    """The x86-64 bundle with a loader and a C library of its own, so that it is started as the arm64 one is."""
    shutil.copytree(bundle.folder, folder)
    loader = "ld-linux-x86-64.so.2"
    for name in (loader, *build._GLIBC):
        shutil.copy(build._system_library(build.compiler(build.X86_64), name), folder / name)
    write_bundle(folder, bundle.machine, f"{bundle.key}-loader", loader)
    return read_bundle(folder, bundle.machine, "")


def emulate_arm64(root: Path) -> None:
    """Let this root run arm64 programs, by QEMU in place of its `env`, which starts every worker; its processors and
    what `uname -m` claims are those of an arm64 machine.
    """
    program = qemu.qemu()
    assert program is not None
    _copy(Path(program), root, root / "bin/qemu")
    cpu = qemu.CPUS[qemu.DEFAULT_CPU]
    (root / "proc/cpuinfo").write_text("".join(qemu._cpuinfo(number, cpu) for number in range(4)))
    for name in ("possible", "present"):
        (root / "sys/devices/system/cpu" / name).write_text("0-3\n")
    for name, text in (("env", f'exec qemu -cpu {cpu.option} "$@"\n'), ("uname", "echo aarch64\n")):
        (root / "bin" / name).unlink()
        _program(root / "bin" / name, text)


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def _copy(program: Path, root: Path, place: Path) -> None:
    """A program and its libraries."""
    shutil.copy(program.resolve(), place)
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"(?:=> |^\s)(/\S+) \(", said, re.MULTILINE):
        target = root / name.lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(name).resolve(), target)


class Phone:
    """The daemon for a root. `serial` is under which adb knows it once it was connected."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self._process = subprocess.Popen(
            [sys.executable, ADBD, "--root", root, *options], stdout=subprocess.PIPE, text=True, process_group=0
        )
        assert self._process.stdout is not None
        self.serial = f"127.0.0.1:{int(self._process.stdout.readline())}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self) -> str:
        """Tell adb of it."""
        subprocess.run(["adb", "connect", self.serial], capture_output=True, check=False, timeout=30)
        return self.serial

    def vanish(self) -> None:
        """The daemon is gone, as when a cable is pulled."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def kept(phone: Phone) -> Path:
    return phone.root / adb.FOLDER.lstrip("/")


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


# What the fixture `attach` is: makes a phone with these options of the daemon, and connects it.
Attach = Callable[..., Phone]
