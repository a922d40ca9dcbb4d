"""Standard output and error as they may be: closed, full, read by nobody, or in an encoding that lacks `×`."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

from harness.errors import HarnessError

# The replacement of a character that the encoding lacks, as wide as it in a table.
_INSTEAD = {"×": "x", "–": "-", "—": "-", "−": "-", "µ": "u", "μ": "u", "…": ".", "≥": ">", "≤": "<", "·": "."}
_HANDLER = "harness.printable"


def prepare() -> None:
    """Make both streams so that a write never ends in a traceback. A closed descriptor is opened on nothing, since the
    next file that is opened would get its number, and be written over.
    """
    closed = [descriptor for descriptor in (0, 1, 2) if not _open(descriptor)]
    codecs.register_error(_HANDLER, _instead)
    sys.stdout = _stream(sys.stdout, _Output(1, "w", closefd=False, closed=1 in closed))
    sys.stderr = _stream(sys.stderr, _Progress(2, "w", closefd=False))


def flush() -> None:
    """Write what is left of standard output. Raises HarnessError, or BrokenPipeError, where that cannot be."""
    sys.stdout.flush()


def discard() -> None:
    """Let go of what nobody reads."""
    _discard(1)


class _Output(io.FileIO):
    """What was asked for: where it cannot be written, the command has failed."""

    def __init__(self, *arguments: Any, closed: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._was_closed = closed

    def write(self, data: Any, /) -> int:
        if self._was_closed:
            self._was_closed = False
            raise _lost("it is closed")
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            raise
        except OSError as error:
            _discard(1)
            raise _lost(error.strerror or str(error)) from error


class _Progress(io.FileIO):
    """Progress: where nobody can read it, the work goes on."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            _discard(2)
            return len(data)


def _lost(why: str) -> HarnessError:
    return HarnessError(
        f"Standard output cannot be written ({why}).", "What was stored stays; give the output another place."
    )


def _stream(old: Any, raw: io.FileIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(old, "encoding", None) or "utf-8",
        errors=_HANDLER,
        line_buffering=raw.isatty() or raw.fileno() == 2,
    )


def _open(descriptor: int) -> bool:
    """Whether a descriptor is open; if not, it is now, on nothing."""
    try:
        os.fstat(descriptor)
    except OSError:
        _discard(descriptor)
        return False
    return True


def _discard(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


def _instead(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = "".join(_INSTEAD.get(character) or _escaped(character) for character in text)
    return shown.encode(error.encoding, errors="replace").decode(error.encoding), error.end


def _escaped(character: str) -> str:
    """A byte of a file name that is no UTF-8 as that byte, everything else by its number."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]
