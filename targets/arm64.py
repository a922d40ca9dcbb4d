"""arm64: the native worker on an arm64 processor: this machine's own, or one emulated by QEMU where there is none."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from harness.conditions.readings import Reading
from harness.errors import HarnessError, UsageError
from harness.job import Files, Job
from harness.protocol import Event
from harness.target import Availability, Capabilities, WorkerProcess
from harness.targets.native import build
from harness.targets.native.agreement import agreement
from harness.targets.native.process import NativeWorker
from harness.targets.transports.local import Local
from harness.targets.transports.qemu import CPUS, DEFAULT_CPU, PROGRAM, Qemu, qemu, takes_plugins
from harness.targets.transports.transport import Transport

_SCENARIOS = ("generate", "single-stream", "offline", "cold-start")
_REAL = Capabilities(
    formats=(".pte",),
    latency="measured",
    scenarios=_SCENARIOS,
    memory=True,
    io_counters=True,
    pinning=True,
    per_operator=True,
)
_EMULATED = Capabilities(formats=(".pte",), latency=None, scenarios=_SCENARIOS[:3], instructions=True)


class Arm64:
    """`device` is `local`, `qemu` or `qemu:PROCESSOR`; for None this machine if it is arm64, else an emulated one.

    Emulation counts instructions and checks outputs; it never measures a latency.
    """

    name = "arm64"

    def __init__(self, device: str | None = None) -> None:
        self._device = device or ("local" if platform.machine() == "aarch64" else "qemu")
        kind, _, which = self._device.partition(":")
        if kind not in ("local", "qemu") or (kind == "local" and which) or which not in ("", *CPUS):
            known = ", ".join(["local", *(f"qemu:{name}" for name in CPUS)])
            raise UsageError(f"arm64 has no device {device!r}.", f"Choose one of: {known}.")
        self._emulated = kind == "qemu"
        self._transport: Transport = Qemu(which or DEFAULT_CPU, build.plugin) if self._emulated else Local()
        self._worker = NativeWorker(self._transport, lambda: build.bundle(build.AARCH64))
        self.capabilities = _EMULATED if self._emulated else _REAL
        self.summary = (
            f"no arm64 device: {self._transport.device()} by QEMU, which counts instructions and has no latency"
            if self._emulated
            else "this machine's arm64 processor: .pte through ExecuTorch's C++ runtime"
        )

    def availability(self) -> Availability:
        """Whether the emulator and a compiler are here; the worker itself is built when it is first wanted."""
        if sys.platform != "linux":
            return Availability(False, f"{sys.platform} is not supported", "Run harness on Linux.")
        if not self._emulated and platform.machine() != "aarch64":
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
            return Availability(False, error.what.rstrip(".")[0].lower() + error.what.rstrip(".")[1:], error.todo)
        return Availability(True)

    def device(self) -> str:
        """The processor."""
        return self._transport.device()

    def launch(self, job: Job, files: Files) -> WorkerProcess:
        """Start the native worker; on an x86-64 machine its outputs are held against those of the same job here."""

        def on_outputs(outputs: Path) -> list[Event]:
            return [*agreement(job, files, outputs)]

        foreign = job.measure == "quality" and platform.machine() == "x86_64"
        return self._worker.launch(job, files, counting=self._emulated, on_outputs=on_outputs if foreign else None)

    def environment(self) -> list[Reading]:
        """The processor and, where it is real, its state."""
        return self._transport.describe()
