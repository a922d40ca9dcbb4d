"""Compilers of this machine: which there is, a name for what it makes of sources, and a call of it."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from harness.errors import HarnessError


def find_compiler(names: Sequence[str]) -> list[str] | None:
    """The first of these command lines whose program there is, as words; None where there is none."""
    for name in names:
        command = shlex.split(name)
        if command and shutil.which(command[0]):
            return command
    return None


@cache
def version_of(command: str) -> str:
    """What a compiler says of its version; '' where it cannot be run."""
    try:
        return subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def digest(sources: Sequence[Path], words: Sequence[str]) -> str:
    """A name for what these sources become by these words, the first of which is the compiler."""
    made_of = hashlib.sha256(repr((*words, version_of(words[0]))).encode())
    for source in sources:
        made_of.update(source.name.encode() + b"\0" + source.read_bytes())
    return made_of.hexdigest()[:16]


def compile_with(command: Sequence[str], what: str, needs: str, limit_s: float) -> None:
    """Run a compiler. Raises HarnessError that says that `what` cannot be compiled, and what it `needs`."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit_s)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or error.stderr.splitlines()
        raise HarnessError(
            f"{what} cannot be compiled ({lines[0].strip() if lines else 'the compiler said nothing'}).", needs
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"The compiler {command[0]} cannot be run ({error}).", "Install it again.") from error
