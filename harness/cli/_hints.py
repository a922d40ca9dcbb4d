"""Commands that a message tells the user to type next: they must work as they are printed.

Messages are written where nobody knows which folder the user gave as `--results`: it is added when they are shown.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

VARIABLE = "HARNESS_RESULTS"
DEFAULT = "results"
# Commands that read or write results; a bare `harness run` is a name, and no advice.
_COMMAND = re.compile(r"`harness (?:run(?= )|compare|report|table|figure \w+|results \w+|zoo run)\b[^`]*`")
_given: list[str] = []


def remember(results: Path) -> None:
    """The folder that this command works on, which is not what a command without `--results` would take."""
    _given[:] = [] if str(results) == os.environ.get(VARIABLE, DEFAULT) else [str(results)]


def complete(text: str) -> str:
    """`text` with that folder in every command that needs it, quoted for the shell."""
    return _COMMAND.sub(_with_results, text) if _given else text


def _with_results(match: re.Match[str]) -> str:
    command = match.group()
    if "--results" in command:
        return command
    return f"{command[:-1]} --results {shlex.quote(_given[0])}`"
