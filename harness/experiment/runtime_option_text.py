"""How options of runtimes are written: `NAME=VALUE`, a mapping of names to values, or pairs. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import UsageError

_HINT = 'Write NAME=VALUE or NAME=VALUE,VALUE; in Python and in files {"NAME": [VALUE, VALUE]}.'


def read_runtime_options(value: Any, name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each option with all its values, without repetition, in the order given. Raises UsageError for anything else."""
    values_by_name: dict[str, dict[str, None]] = {}
    for option, values in _pairs(value, name):
        values_by_name.setdefault(option, {}).update(dict.fromkeys(_values(option, values)))
    return tuple((option, tuple(values)) for option, values in values_by_name.items())


def _pairs(value: Any, name: str) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        value = list(value.items())
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, str):
            option, equals, values = item.partition("=")
            item = (option, values) if equals else item
        if not isinstance(item, (list, tuple)) or len(item) != 2 or not isinstance(item[0], str) or not item[0].strip():
            raise UsageError(f"{name} is {item!r}, not the name of an option and its value.", _HINT)
        yield item[0].strip(), item[1]


def _values(option: str, value: Any) -> list[str]:
    if isinstance(value, bool):  # as TOML and Python write what is `on` or `off` on the command line
        return ["on" if value else "off"]
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, (list, tuple)):
        values = [single for part in value for single in _values(option, part)]
    elif isinstance(value, str):
        values = [part.strip() for part in value.split(",")]
    else:
        values = []
    if not values or not all(values):
        raise UsageError(f"{option} is {value!r}, which is no value of an option.", _HINT)
    return values
