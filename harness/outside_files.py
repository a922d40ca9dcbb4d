"""Files that people and other programs wrote or will read: opened, decoded and checked, or written whole, in one place.

Whatever is in such a file, its reader gives either what it means or one sentence that names the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from harness.atomic_files import replacing_file, unwritable
from harness.errors import HarnessError, UsageError

T = TypeVar("T")
# Larger than any such file; /dev/zero has no end.
_LARGEST = 1 << 26
# What making sense of a wrong value raises: of another type, out of range, absent.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_toml(path: Path, parse: Callable[[dict[str, Any], str], T], kind: str, todo: str) -> T:
    """What `parse` makes of a TOML file's keys and of the sha256 of its bytes. `kind` is what the file should be,
    `todo` what to do if it is not. Raises UsageError; a HarnessError of `parse` passes.
    """
    data = read_bytes(path, todo)
    try:
        keys = tomllib.loads(data.decode("utf-8"))
        if any("\0" in text for text in _texts(keys)):
            raise ValueError("a text in it has a NUL character")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML ({_why(error)}).", todo) from error
    return _parsed(path, keys, lambda table: parse(table, hashlib.sha256(data).hexdigest()), kind, todo, UsageError)


def read_mapping(path: Path, parse: Callable[[dict[str, Any]], T], kind: str, todo: str) -> T:
    """What `parse` makes of the keys of a TOML file, or of a JSON file by its suffix. Raises UsageError; a HarnessError
    of `parse` passes.
    """
    if path.suffix != ".json":
        return read_toml(path, lambda keys, sha256: parse(keys), kind, todo)

    def keys_of(value: Any) -> T:
        if not isinstance(value, dict):
            raise TypeError("it is no object")
        return parse(value)

    return read_json(path, keys_of, kind, todo)


def read_json(path: Path, parse: Callable[[Any], T], kind: str, todo: str, error: type[HarnessError] = UsageError) -> T:
    """What `parse` makes of the value in a JSON file, whose numbers are finite and whose texts are whole characters.
    Raises `error`; a HarnessError of `parse` passes.
    """

    def loaded(data: bytes) -> T:
        value = json.loads(data.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
        for text in _texts(value):
            text.encode("utf-8")
        return parse(value)

    return _parsed(path, read_bytes(path, todo, error), loaded, kind, todo, error)


def read_bytes(path: Path, todo: str, error: type[HarnessError] = UsageError) -> bytes:
    """The bytes of a file of 64 MiB at most. Raises `error`."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as caught:
        raise error(f"{path} cannot be read ({_why(caught)}).", todo) from caught
    if len(data) > _LARGEST:
        raise error(f"{path} has more than {_LARGEST >> 20} MiB, and is no file of this kind.", todo)
    return data


def write_whole(path: Path, data: bytes | str, todo: str, error: type[HarnessError] = UsageError) -> None:
    """Write a file, text in UTF-8, so that it appears whole or not at all, even when this process is stopped meanwhile.
    Raises `error`.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", errors="backslashreplace")
    try:
        _replace(path, data)
    except (OSError, ValueError) as caught:
        raise unwritable(path, caught, todo, error) from caught


def expanded(text: str, where: str) -> Path:
    """The path in a text, which may begin with `~`. Raises UsageError where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{where} is {text!r}, but no home folder of that user is known.", "Write the whole path."
        ) from error


def check_name(path: Path) -> None:
    """Raises UsageError for a file that no runtime opens, since its name is not UTF-8."""
    if printable(str(path)) != str(path):
        raise UsageError(
            f"The name {printable(str(path))} is not UTF-8, and runtimes open no file of such a name.", "Rename it."
        )


def printable(name: str) -> str:
    """A file name as text that every file and program takes: bytes that are no UTF-8 are shown as `\\xff`."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def _parsed(path: Path, given: Any, parse: Callable[[Any], T], kind: str, todo: str, error: type[HarnessError]) -> T:
    try:
        return parse(given)
    except _WRONG as caught:
        raise error(f"{path} is not a readable {kind} ({_why(caught)}).", todo) from caught


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).rstrip(".") or type(error).__name__


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _texts(value: Any) -> Iterator[str]:
    """Every text in it, names of keys too."""
    left = [value]
    while left:
        element = left.pop()
        if isinstance(element, str):
            yield element
        elif isinstance(element, dict):
            left += [*element, *element.values()]
        elif isinstance(element, list):
            left += element


def _replace(path: Path, data: bytes) -> None:
    before = path.stat() if os.path.exists(path) else None
    if before is not None and not stat.S_ISREG(before.st_mode):  # a pipe, or /dev/stdout
        path.write_bytes(data)
        return
    final = Path(os.path.realpath(path))
    with replacing_file(final) as file:
        file.write(data)
        if before is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
