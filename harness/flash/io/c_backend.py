"""The C backend, `native/flashio.c`: built when it is first wanted with the compiler at hand, and kept in the cache
folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from harness.atomic_files import replacing_files
from harness.flash.io.arena import Arena
from harness.flash.io.geometry import Indices
from harness.flash.io.transfer import PieceFailed, Transfer
from harness.folders import cache_folder

_SOURCE = Path(__file__).parent / "native" / "flashio.c"
_FLAGS = ("-O2", "-shared", "-fPIC", "-pthread")
_BUILD_LIMIT_S = 60
_WORD, _POINTER = ctypes.c_int64, ctypes.c_void_p


class Unavailable(Exception):
    """Why the backend, or its io_uring, cannot be had here: half a sentence."""


@contextlib.contextmanager
def pool(descriptor: int, arena: Arena, depth: int) -> Iterator[Transfer]:
    """A transfer by `depth` threads that call pread. Raises Unavailable."""
    flashio = _library()
    handle = flashio.flashio_pool_open(descriptor, arena.view.ctypes.data, arena.slot_bytes, depth)
    if not handle:
        raise Unavailable(f"{depth} threads cannot be started ({os.strerror(ctypes.get_errno())})")
    try:
        yield _transfer(flashio.flashio_pool_read, handle)
    finally:
        flashio.flashio_pool_close(handle)


@contextlib.contextmanager
def ring(descriptor: int, arena: Arena, depth: int) -> Iterator[Transfer]:
    """A transfer by io_uring with `depth` reads in flight. Raises Unavailable."""
    flashio = _library()
    handle = flashio.flashio_ring_open(descriptor, arena.view.ctypes.data, arena.slot_bytes, arena.slots, depth)
    if not handle:
        raise Unavailable(f"the kernel offers no io_uring here ({os.strerror(ctypes.get_errno())})")
    try:
        yield _transfer(flashio.flashio_ring_read, handle)
    finally:
        flashio.flashio_ring_close(handle)


def _transfer(read: ctypes._NamedFuncPointer, handle: int) -> Transfer:
    failed = ctypes.c_int64()

    def transfer(offsets: Indices, lengths: Indices, slots: Indices) -> None:
        arrays = (offsets.ctypes.data, lengths.ctypes.data, slots.ctypes.data)
        result = read(handle, len(offsets), *arrays, ctypes.byref(failed))  # without the interpreter's lock
        if result < 0:
            raise PieceFailed(failed.value, -result)

    return transfer


@cache
def _library() -> ctypes.CDLL:
    library = _built()
    try:
        flashio = ctypes.CDLL(str(library), use_errno=True)
    except OSError as error:  # damaged, or in a folder that nothing may be run from
        raise Unavailable(f"{library} cannot be loaded ({error})") from error
    arrays = (_WORD, _POINTER, _POINTER, _POINTER, ctypes.POINTER(_WORD))
    for name, result, arguments in (
        ("pool_open", _POINTER, (ctypes.c_int, _POINTER, _WORD, ctypes.c_int)),
        ("ring_open", _POINTER, (ctypes.c_int, _POINTER, _WORD, _WORD, ctypes.c_int)),
        ("pool_read", _WORD, (_POINTER, *arrays)),
        ("ring_read", _WORD, (_POINTER, *arrays)),
        ("pool_close", None, (_POINTER,)),
        ("ring_close", None, (_POINTER,)),
    ):
        function = getattr(flashio, f"flashio_{name}")
        function.restype, function.argtypes = result, arguments
    return flashio


def _built() -> Path:
    """The library of this very source and compiler, built if it is not there yet."""
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or shutil.which("clang") or ""]
    if not shutil.which(compiler[0]):
        raise Unavailable("there is no C compiler")
    command = [*compiler, *_FLAGS]
    key = hashlib.sha256(_SOURCE.read_bytes() + repr((command, platform.machine())).encode()).hexdigest()[:16]
    library = cache_folder() / "native" / f"flashio-{key}.so"
    if library.exists():
        return library
    try:
        with replacing_files(library.parent) as scratch:
            build = [*command, "-o", str(scratch / library.name), str(_SOURCE)]
            subprocess.run(build, check=True, capture_output=True, text=True, timeout=_BUILD_LIMIT_S)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"the C compiler failed ({(error.stderr or str(error)).strip().splitlines()[-1]})") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"the C backend cannot be built ({error})") from error
    return library
