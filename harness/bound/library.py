"""The loops, `native/bound.c`, compiled with the compiler at hand for the instructions of this processor, and called.

The library lies in the cache folder, under a name made of the source, the compiler and the flags.
"""

from __future__ import annotations

import ctypes
import os
import platform
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.atomic_files import replacing_files
from harness.compiling import compile_with, digest, find_compiler, version_of
from harness.errors import HarnessError, ModelError, UsageError
from harness.folders import cache_folder

SOURCE = Path(__file__).parent / "native" / "bound.c"
# Without what makes floating-point sums differ from the source: its vectors are written out.
FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math")
_LIBRARY = ("-shared", "-fPIC")
_LIMIT_S = 120
_COMPILER = "Install one: `apt-get install gcc`, or name yours in $CC."
_MEMORY = "memory"
Address = int | ctypes.c_void_p


@dataclass(frozen=True)
class Variant:
    """Loops for some instructions of one machine (any for None): what the processor must say that it has, and what the
    compiler is asked for.
    """

    machine: str | None
    features: frozenset[str]
    flags: tuple[str, ...]


PLAIN = "plain"
VARIANTS = {
    "avx512-vnni": Variant(
        "x86_64",
        frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}),
        (
            *("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"),
            "-mprefer-vector-width=512",
        ),
    ),
    "avx2": Variant("x86_64", frozenset({"avx2", "fma"}), ("-mavx2", "-mfma")),
    "neon-dotprod": Variant("aarch64", frozenset({"asimddp"}), ("-march=armv8.2-a+dotprod",)),
    PLAIN: Variant(None, frozenset(), ()),
}
"""The fastest first. `plain` is what the others are tested against; it bounds nothing."""


def compiler() -> list[str] | None:
    """The C compiler: $CC, cc, gcc or clang; None where there is none."""
    return find_compiler([os.environ.get("CC", ""), "cc", "gcc", "clang"])


def runs_here(name: str) -> bool:
    """Whether this processor has the instructions of a variant."""
    variant = VARIANTS[name]
    return variant.machine in (None, _machine()) and variant.features <= _features()


def chosen(name: str | None = None) -> str:
    """The variant `name`, or the fastest that this processor has the instructions for. Raises UsageError where it lacks
    them.
    """
    known = [variant for variant in VARIANTS if variant != PLAIN]
    if name is None:
        name = next((variant for variant in known if runs_here(variant)), None)
        if name is None:
            raise UsageError(
                f"This processor has the instructions of none of {', '.join(known)}, for which the bound is written.",
                "Measure on another, or leave the bound out.",
            )
    elif not runs_here(name):
        raise UsageError(
            f"This processor does not have the instructions that {name} is compiled for.",
            "Leave out the option `instructions`.",
        )
    return name


def missing() -> tuple[str, str] | None:
    """Why the bound cannot be had here, and what to do about it; None where it can."""
    if compiler() is None:
        return "there is no C compiler, and the bound is compiled where it runs", _COMPILER
    try:
        chosen()
    except UsageError as error:
        return str(error).rstrip("."), error.hint
    return None


class Library:
    """The functions of one variant, called by `name`; `made_by` says what compiled it."""

    def __init__(self, name: str, path: Path, made_by: str) -> None:
        self.name, self.made_by = name, made_by
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:  # damaged, or in a folder that nothing may be run from
            raise HarnessError(f"{path} cannot be loaded ({error}).", "Remove it: it is made again.") from error
        self.open: Any = library.bound_open
        self.open.argtypes = (ctypes.c_char_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_void_p))
        self.run: Any = library.bound_run
        self.run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int32] * 3, ctypes.c_void_p)
        self.open.restype = self.run.restype = library.bound_kernels.restype = ctypes.c_char_p
        self.close: Any = library.bound_close
        self.close.restype, self.close.argtypes = None, (ctypes.c_void_p,)
        library.bound_kernels.argtypes = ()
        compiled = library.bound_kernels().decode()
        if compiled != name:
            raise HarnessError(
                f"The compiler ({made_by}) made loops of {compiled} where {name} was asked for.",
                "Name another compiler in $CC: gcc 10 or clang 12 at least.",
            )


def load_library(name: str | None = None) -> Library:
    """The variant `name`, or the fastest of this processor, compiled if it has not been. Raises UsageError where the
    processor lacks its instructions, HarnessError where there is no compiler or it fails.
    """
    return _loaded(chosen(name), cache_folder())


@cache
def _loaded(name: str, cache_at: Path) -> Library:
    command = compiler()
    if command is None:
        raise HarnessError("There is no C compiler, and the bound is compiled where it runs.", _COMPILER)
    words = [*command, *FLAGS, *VARIANTS[name].flags, *_LIBRARY]
    library = cache_at / "native" / f"bound-{name}-{digest([SOURCE], words)}.so"
    if not library.exists():
        with replacing_files(library.parent) as scratch:
            made = scratch / library.name
            needs = "It needs gcc 10 or clang 12 at least."
            compile_with([*words, "-o", str(made), str(SOURCE), "-lm"], "The bound", needs, _LIMIT_S)
    said = version_of(command[0]).splitlines()
    return Library(name, library, said[0] if said else command[0])


class Program:
    """A file, opened: its weights laid out for the loops, and a cache for one sequence. Raises ModelError for a damaged
    file, MemoryError.
    """

    def __init__(self, library: Library, path: Path, content: bytes) -> None:
        self._library, handle = library, ctypes.c_void_p()
        wrong = library.open(content, len(content), ctypes.byref(handle))
        if wrong is not None:
            if wrong.decode() == _MEMORY:
                raise MemoryError(f"{path} does not fit into memory")
            raise ModelError(
                f"{path} is no file of the bound, or damaged: {wrong.decode()}.",
                "Build it again, or copy it again if it came from elsewhere.",
            )
        self._handle = handle
        weakref.finalize(self, library.close, handle)

    def run(self, tokens: Address, count: int, begin: int, every: bool, logits: Address) -> None:
        """Compute `count` tokens, int32 at the address `tokens`, the first of which is at position `begin` (0: a new
        sequence), and write the logits of the last, or of `every` one, to the address `logits`. Raises UsageError for
        tokens or positions that it does not have.
        """
        wrong = self._library.run(self._handle, tokens, count, begin, every, logits)
        if wrong is not None:
            raise UsageError(f"The bound cannot compute this: {wrong.decode()}.", "Give other tokens, or fewer.")


def _machine() -> str:
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


@cache
def _features() -> frozenset[str]:
    """What the processor says that it has; nothing where that cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    )
