"""arm64: the native worker on an arm64 processor: an Android device, a board, this machine's own, or one emulated by
QEMU where there is none.
"""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness.conditions.gate import wait_until_cool
from harness.conditions.readings import Reading
from harness.energy import android
from harness.energy.source import Missing, Source
from harness.errors import HarnessError, UsageError, WorkerError
from harness.job import Files, Job
from harness.protocol import Event
from harness.target import Availability, Capabilities, WorkerProcess
from harness.targets.native import build
from harness.targets.native.agreement import agreement
from harness.targets.native.process import NativeWorker
from harness.targets.transports.adb import attached, may_be_attached
from harness.targets.transports.devices import read_devices
from harness.targets.transports.local import Local
from harness.targets.transports.qemu import CPUS, DEFAULT_CPU, PROGRAM, Qemu, qemu, takes_plugins
from harness.targets.transports.transport import Transport

_MACHINE = "aarch64"
_SCENARIOS = ("generate", "single-stream", "offline", "flash", "cold-start")
_REAL = Capabilities(
    formats=(".pte",),
    latency="measured",
    scenarios=_SCENARIOS,
    memory=True,
    io_counters=True,
    pinning=True,
    per_operator=True,
    energy=True,
    reads_alone=True,
)
_EMULATED = Capabilities(formats=(".pte",), latency=None, scenarios=_SCENARIOS[:4], instructions=True, reads_alone=True)


class Arm64:
    """`device` is `local`, `qemu`, `qemu:PROCESSOR`, `adb`, `adb:SERIAL`, `ssh:HOST`, or a name of the file `devices`
    (None: that of `devices_file()`). For None: the file's default, this machine if it is arm64, an attached Android
    device, else an emulated processor.

    Emulation counts instructions and checks outputs; it never measures a latency.
    """

    name = "arm64"

    def __init__(self, device: str | None = None, devices: str | None = None) -> None:
        known = read_devices(None if devices is None else Path(devices))
        device = device or known.default or _at_hand()
        self._wanted = known.find(device)
        self._emulated = False
        self._transport: Transport
        if self._wanted is not None:
            self._transport = self._remote = self._wanted.connect()
            what = f"{self._transport.device()}: .pte through ExecuTorch's C++ runtime"
        elif device == "local":
            self._transport, what = Local(), "this machine's arm64 processor: .pte through ExecuTorch's C++ runtime"
        else:
            kind, _, which = device.partition(":")
            if kind != "qemu" or which not in ("", *CPUS):
                choices = [*known.by_name, "adb:SERIAL", "ssh:HOST", "local", *(f"qemu:{name}" for name in CPUS)]
                raise UsageError(f"arm64 has no device {device!r}.", f"Choose one of: {', '.join(choices)}.")
            self._emulated = True
            self._transport = Qemu(which or DEFAULT_CPU, build.plugin)
            what = f"no arm64 device: {self._transport.device()} by QEMU, which counts instructions and has no latency"
        self._worker = NativeWorker(self._transport, lambda: build.bundle(build.AARCH64))
        self.capabilities = _EMULATED if self._emulated else _REAL
        self.summary = f"{what}; .pte alone: ONNX Runtime, llama.cpp and the other runtimes have no worker there"

    @property
    def cpus(self) -> tuple[int, ...] | None:
        """The processors that the devices file pins to."""
        return self._wanted.cpus if self._wanted else None

    def availability(self) -> Availability:
        """Whether the device answers or the emulator is here, and a compiler; the worker is built when it is wanted."""
        if sys.platform != "linux":
            return Availability(False, f"{sys.platform} is not supported", "Run harness on Linux.")
        if self._wanted is not None:
            try:
                machine = self._remote.machine()
            except HarnessError as error:
                return _unavailable(error)
            if machine != _MACHINE:
                return Availability(
                    False, f"{self.device()} is {machine}, not arm64", "Choose another device with --device."
                )
        elif not self._emulated and platform.machine() != _MACHINE:
            return Availability(
                False, f"this machine is {platform.machine()}, not arm64", "Leave out --device local to emulate one."
            )
        if self._emulated and (program := qemu()) is None:
            return Availability(
                False, f"no arm64 device is attached and {PROGRAM} is not installed", "`apt-get install qemu-user`."
            )
        if self._emulated and not takes_plugins(program or PROGRAM):
            return Availability(
                False,
                f"this {PROGRAM} was built without plugins, so that it cannot count instructions",
                "`apt-get install qemu-user` (qemu-user-static has none).",
            )
        try:
            build.compiler(build.AARCH64)
        except HarnessError as error:
            return _unavailable(error)
        return Availability(True)

    def prepare(self, on_wait: Callable[[int, int], None] | None = None) -> None:
        """Wait until the device is as cool as the devices file wants it."""
        if self._wanted and self._wanted.wait_below_celsius is not None:
            wait_until_cool(
                self._transport.describe, self._wanted.wait_below_celsius, self._wanted.wait_limit_s, on_wait
            )

    def device(self) -> str:
        """The device, or the processor."""
        return self._transport.device()

    def launch(self, job: Job, files: Files) -> WorkerProcess:
        """Start the native worker; on an x86-64 machine its outputs are held against those of the same job here."""

        def on_outputs(outputs: Path) -> list[Event]:
            return [*agreement(job, files, outputs)]

        foreign = job.measure == "quality" and platform.machine() == "x86_64"
        return self._worker.launch(job, files, counting=self._emulated, on_outputs=on_outputs if foreign else None)

    def energy(self) -> Source | Missing:
        """The device's power rails or battery."""
        if self._emulated:
            return Missing("an emulated processor draws nothing", "Give a real device.")
        return android.find(self._remote.ask if self._wanted else _run_locally)

    def environment(self) -> list[Reading]:
        """The processor and, where it is real, its state; and what the devices file wants of it."""
        readings = self._transport.describe()
        if self._wanted and self._wanted.governor is not None:
            readings.append(Reading("governor_expected", self._wanted.governor))
        if self._wanted and self._wanted.wait_below_celsius is not None:
            readings.append(Reading("temperature_wanted_celsius", f"{self._wanted.wait_below_celsius:g}"))
        return readings


def _run_locally(script: str) -> str:
    """What a shell script prints on this machine."""
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=20.0, check=False).stdout


def _at_hand() -> str:
    """Which device is meant when nobody says. An Android device that does not let us in is it too, and says why."""
    if platform.machine() == _MACHINE:
        return "local"
    with contextlib.suppress(WorkerError):
        if may_be_attached() and attached():
            return "adb"
    return "qemu"


def _unavailable(error: HarnessError) -> Availability:
    reason = error.message.rstrip(".")
    return Availability(False, reason[:1].lower() + reason[1:], error.hint)
