"""Building the native worker: two compiler calls on the sources that harness ships, kept in the cache folder until a
source, a version or the compiler changes.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import harness.flash.io
from harness import __version__
from harness.atomic_files import replacing_files, replacing_folder
from harness.compiling import compile_with, digest, find_compiler
from harness.errors import HarnessError
from harness.folders import cache_folder
from harness.targets.native.bundle import MANIFEST, RUNNER, Bundle, read_bundle, write_bundle
from harness.targets.native.sdk import executorch_version, sdk

_SOURCES = Path(__file__).parent
_FLASHIO = Path(harness.flash.io.__file__).parent / "native" / "flashio.c"
_LIMIT_S = 1200
# Kernels and delegates only register themselves, so that without --no-as-needed the linker would drop them.
_LIBRARIES = (
    *("executorch", "executorch_threadpool", "executorch_kernels_optimized", "executorch_kernels_quantized"),
    *("executorch_backend_xnnpack", "executorch_etdump"),
)
_FLAGS = (
    *("-std=c++20", "-O2", "-w", "-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED"),
    "-DET_USE_THREADPOOL",
)


@dataclass(frozen=True)
class Machine:
    """`target` is its name on the command line, `cross` the compiler for it elsewhere and the package that has it.

    `system` are the libraries of the C and C++ runtime that the bundle brings, the loader first; none where the bundle
    only ever runs on the machine that built it.
    """

    name: str
    target: str
    cross: str
    package: str
    system: tuple[str, ...] = ()

    @property
    def rebuild(self) -> str:
        """What to do about a damaged bundle."""
        return f"Build it again: `harness targets build {self.target} --force`."


_GLIBC = ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0", "librt.so.1")
X86_64 = Machine("x86_64", "native", "x86_64-linux-gnu-g++", "g++-x86-64-linux-gnu")
AARCH64 = Machine(
    "aarch64", "arm64", "aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu", ("ld-linux-aarch64.so.1", *_GLIBC)
)
MACHINES = {machine.target: machine for machine in (AARCH64, X86_64)}


def compiler(machine: Machine) -> list[str]:
    """The C++ compiler for a machine: $CXX or g++ or clang++ for this one, the cross compiler for another. Raises
    HarnessError naming the package to install.
    """
    if machine.name == platform.machine():
        names = [os.environ.get("CXX", ""), "g++", "c++", "clang++"]
        package = "g++"
    else:
        names, package = [machine.cross], machine.package
    if (command := find_compiler(names)) is not None:
        return command
    raise HarnessError(
        f"There is no C++ compiler for {machine.name} here ({machine.cross if package != 'g++' else 'g++'}).",
        f"Install one: `apt-get install {package}`.",
    )


def bundle(machine: Machine, *, force: bool = False) -> Bundle:
    """The bundle for a machine, whole and checked; built first where there is none of these sources and versions, or if
    `force`. Raises HarnessError.
    """
    command = compiler(machine)
    key = _key(machine, command)
    folder = cache_folder() / "native" / f"{machine.name}-{key}"
    if force or not (folder / MANIFEST).exists():
        _build(machine, command, key, folder)
    return read_bundle(folder, machine.name, machine.rebuild)


def plugin() -> Path:
    """QEMU's plugin that counts instructions, for this machine. Raises HarnessError."""
    command = find_compiler([os.environ.get("CC", ""), "cc", "gcc", "clang"])
    if command is None:
        raise HarnessError("There is no C compiler to build the instruction counter with.", "`apt-get install gcc`.")
    command = [*command, "-O2", "-shared", "-fPIC"]
    source = _SOURCES / "icount.c"
    library = cache_folder() / "native" / f"icount-{digest([source, _SOURCES / 'counts.h'], command)}.so"
    if not library.exists():
        with replacing_files(library.parent) as scratch:
            _compile([*command, "-o", str(scratch / library.name), str(source)])
    return library


def _key(machine: Machine, command: Sequence[str]) -> str:
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".cpp", ".h"))
    return digest(
        [*sources, _FLASHIO], (*command, *_FLAGS, *_LIBRARIES, *machine.system, executorch_version(), __version__)
    )


def _build(machine: Machine, command: list[str], key: str, folder: Path) -> None:
    """Compile into a folder of its own, which takes the place of `folder` when it is complete."""
    kit = sdk(machine.name)
    with replacing_folder(folder) as fresh:
        flashio = fresh / "flashio.o"
        _compile([*command, "-x", "c", "-O2", "-w", "-pthread", "-c", str(_FLASHIO), "-o", str(flashio)])  # C, no C++
        _compile(
            [
                *(*command, *_FLAGS, f'-DHARNESS_VERSION="{__version__}"'),
                *(f'-DEXECUTORCH_VERSION="{executorch_version()}"', "-isystem", f"{kit}/include"),
                *("-isystem", f"{kit}/include/executorch/runtime/core/portable_type/c10"),
                *(str(_SOURCES / "runner.cpp"), str(flashio), "-pthread", "-o", str(fresh / RUNNER)),
                *(f"-L{kit}/lib", "-Wl,--no-as-needed"),
                *(f"-l{name}" for name in _LIBRARIES),
                *("-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN"),
            ]
        )
        flashio.unlink()
        for name in _LIBRARIES:
            shutil.copy(kit / "lib" / f"lib{name}.so", fresh)
        for name in machine.system:
            shutil.copy(_system_library(command, name), fresh / name)
        write_bundle(fresh, machine.name, key, machine.system[0] if machine.system else None)


def _system_library(command: Sequence[str], name: str) -> Path:
    """Where the compiler finds a library of its system."""
    printed = subprocess.run([*command, f"-print-file-name={name}"], capture_output=True, text=True, check=False).stdout
    path = Path(printed.strip())
    if not path.is_absolute():
        raise HarnessError(f"{command[0]} has no {name}.", "Install the C++ library of its system.")
    return path.resolve()


def _compile(command: Sequence[str]) -> None:
    needs = "It needs a compiler of C++20: g++ 11 or clang 14 at least."
    compile_with(command, "The native worker", needs, _LIMIT_S)
