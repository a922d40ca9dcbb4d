"""The qemu transport: user emulation of an arm64 processor on this machine. It has no clock that means anything.

Three processors, each with the `/proc/cpuinfo` that belongs to it: XNNPACK chooses kernels by that file too, and QEMU
would show the guest the host's. It is shown files below `-L` instead. `max` with SME is not offered: the int8 kernels
of ExecuTorch 1.5.1 then gave wrong results under QEMU 7.2 (this project's own measurement).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.atomic_files import replacing_file
from harness.conditions.extensions import instruction_sets, vector_extensions
from harness.conditions.readings import Reading
from harness.folders import cache_folder
from harness.targets.transports.local import Local, LocalProcess

PROGRAM = "qemu-aarch64"
# Where the emulator is to write its counts: it and the worker both look at this.
COUNTS = "HARNESS_COUNTS"
_PROCESSORS = 4


@dataclass(frozen=True)
class Cpu:
    """`option` is QEMU's; implementer and part are the processor's (MIDR_EL1), `features` as Linux names them."""

    option: str
    implementer: str
    part: str
    features: str


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_DOTPROD = f"{_ARMV8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUS = {
    "cortex-a76": Cpu("cortex-a76", "0x41", "0xd0b", _DOTPROD),
    "cortex-a53": Cpu("cortex-a53", "0x41", "0xd03", f"{_ARMV8} cpuid"),
    "max": Cpu("max,sme=off", "0x00", "0x051", f"{_DOTPROD} sve i8mm bf16"),
}
DEFAULT_CPU = "cortex-a76"


def qemu() -> str | None:
    """The emulator's path; None where there is none."""
    return shutil.which(PROGRAM)


@cache
def version(program: str) -> str:
    """Such as 7.2.22."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"version (\S+)", printed)
    return version.group(1) if version else "unknown"


@cache
def takes_plugins(program: str) -> bool:
    """Whether this emulator was built with plugins, which counting needs; static builds of Debian are not."""
    return "-plugin" in subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout


class Qemu(Local):
    """An emulated processor of the given name. `plugin` gives the library that counts, when it is wanted."""

    def __init__(self, cpu: str, plugin: Callable[[], Path]) -> None:
        super().__init__()
        self._name, self._cpu, self._plugin = cpu, CPUS[cpu], plugin

    def device(self) -> str:
        """The processor, and that it is none."""
        return f"{self._name} (emulated)"

    def describe(self) -> list[Reading]:
        """What decides an instruction count: processor and emulator. The host's load does not."""
        return [
            Reading("machine", "aarch64", identity=True),
            Reading("cpu_model", f"{self._cpu.option}, emulated by QEMU {version(qemu() or PROGRAM)}", identity=True),
            Reading("vector_extensions", vector_extensions(_cpuinfo(0, self._cpu)), identity=True),
            Reading("instruction_sets", instruction_sets(_cpuinfo(0, self._cpu)), identity=True),
            Reading("logical_cpus", str(_PROCESSORS), identity=True),
            Reading("cpu_frequency_mhz", None, "an emulated processor has no clock"),
        ]

    def start(self, command: Sequence[str], request: str, environment: Mapping[str, str]) -> LocalProcess:
        """A child process of the emulator; with the plugin where `environment` names a file for counts."""
        counting = ["-plugin", f"{self._plugin()},out={environment[COUNTS]}"] if COUNTS in environment else []
        emulator = [qemu() or PROGRAM, "-cpu", self._cpu.option, "-L", str(_prefix(self._name, self._cpu)), *counting]
        return LocalProcess([*emulator, *command], request, environment)


def _prefix(name: str, cpu: Cpu) -> Path:
    """A folder with the files that a program of the guest finds in place of the host's."""
    folder = cache_folder() / "native" / f"cpu-{name}"
    processors = f"0-{_PROCESSORS - 1}\n"
    for path, text in (
        ("proc/cpuinfo", "".join(_cpuinfo(number, cpu) for number in range(_PROCESSORS))),
        ("sys/devices/system/cpu/possible", processors),
        ("sys/devices/system/cpu/present", processors),
    ):
        file = folder / path
        if not file.exists() or file.read_text(encoding="ascii") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing_file(file) as replacement:
                replacement.write(text.encode("ascii"))
    return folder


def _cpuinfo(number: int, cpu: Cpu) -> str:
    return (
        f"processor\t: {number}\nBogoMIPS\t: 50.00\nFeatures\t: {cpu.features}\n"
        f"CPU implementer\t: {cpu.implementer}\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {cpu.part}\n"
        "CPU revision\t: 0\n\n"
    )
