"""What one option of a run is: how its value is read, in Python, on the command line and in a file, and its help."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.scenarios.catalogue import SCENARIOS, owner_of

SECTIONS = {
    "what": "What is measured",
    "length": "How long and how often",
    "conditions": "Conditions (those with a LIST sweep: every combination is measured)",
    "passes": "Passes and quality",
    "scenario": "Options of one scenario",
    "results": "Results",
    "expert": "Rarely needed",
}
"""Sections of `harness run --help`, in this order, by the names that options give."""


@dataclass(frozen=True)
class Kind:
    """How values of an option are read. `read` is given a value, as text or as Python has it, and the name of the
    option, and gives the value that a request holds; it raises UsageError. `metavar` is for the help.
    """

    read: Callable[[Any, str], Any]
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    is_file: bool = False
    must_exist: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class Option:
    """One field of a request, for its readers: `flag` on the command line, `kind`, `help`, the `section` of the help,
    `unit`, the one `scenario` that takes it, whether it `sweeps`, and what the help says of its default.
    """

    field: str
    flag: str
    kind: Kind
    help: str
    section: str
    short: str | None = None
    unit: str | None = None
    scenario: str | None = None
    sweeps: bool = False
    default_words: str | None = None

    @property
    def key(self) -> str:
        """Its name in a file: the flag without the dashes."""
        return self.flag.partition("/")[0].removeprefix("--")

    @property
    def turns_off(self) -> bool:
        """Whether its flag turns off what is on from the beginning."""
        return self.kind.is_switch and self.flag.startswith("--no-")

    @property
    def field_help(self) -> str:
        """What the field of a request means; `help` is of the flag."""
        return f"False: {self.help[:1].lower()}{self.help[1:]}" if self.turns_off else self.help


def option(
    kind: Kind,
    help: str,
    *,
    section: str,
    default: Any = dataclasses.MISSING,
    flag: str | None = None,
    short: str | None = None,
    unit: str | None = None,
    sweeps: bool = False,
    default_words: str | None = None,
) -> Any:
    """A field of a dataclass that is an option; the flag is made of its name where none is given."""
    facts = {
        "flag": flag,
        "kind": kind,
        "help": help,
        "section": section,
        "short": short,
        "unit": unit,
        "sweeps": sweeps,
        "default_words": default_words,
    }
    return dataclasses.field(default=default, metadata={"option": facts})


def options_of(request: type) -> tuple[Option, ...]:
    """The options of a dataclass in the order of its fields. Which scenario one belongs to, and what it is there where
    nobody says, the scenario knows.
    """
    return tuple(_option_of(field) for field in dataclasses.fields(request))


def _option_of(field: dataclasses.Field[Any]) -> Option:
    facts = dict(field.metadata["option"])
    facts["flag"] = facts["flag"] or "--" + field.name.replace("_", "-")
    plain = Option(field=field.name, **facts)
    name = plain.key.replace("-", "_")
    if (owner := owner_of(name)) is None:
        return plain
    default = SCENARIOS[owner].options[name]
    return dataclasses.replace(plain, scenario=owner, default_words=default or plain.default_words)


def text(metavar: str) -> Kind:
    """Text as it is."""

    def read(value: Any, name: str) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise UsageError(f"{name} is {value!r}, not a text.", f"Write {name} as {metavar}.")
        if value == "":
            raise UsageError(f"{name} is an empty text.", f"Write {name} as {metavar}.")
        return str(value)

    return Kind(read, metavar)


def choice(values: Sequence[str]) -> Kind:
    """One of some words."""

    def read(value: Any, name: str) -> str:
        if value not in values:
            raise UsageError(f"{name} is {value!r}.", f"Choose from: {', '.join(values)}.")
        return str(value)

    return Kind(read, choices=tuple(values))


def count(minimum: int = 1, maximum: int | None = None) -> Kind:
    """A whole number of at least `minimum`, and at most `maximum` where there is one."""

    def read(value: Any, name: str) -> int:
        number = whole_number(value, name)
        if number < minimum:
            raise UsageError(f"{name} is {number}.", f"Give {minimum} or more.")
        if maximum is not None and number > maximum:
            raise UsageError(f"{name} is {number}.", f"Give {maximum} or fewer.")
        return number

    return Kind(read, "N")


def seconds(parse: Callable[[str], float], *, above_zero: bool = False) -> Kind:
    """Seconds, as a number or as a text with a unit."""

    def read(value: Any, name: str) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            number = parse(value) if isinstance(value, str) else math.nan
        if not 0 <= number < math.inf or (above_zero and number == 0):
            raise UsageError(
                f"{name} is {value!r}.", f"Give a number of seconds{' above 0' if above_zero else ', 0 or more'}."
            )
        return number

    return Kind(read, "SECONDS")


def time_with_unit(parse: Callable[[str], float]) -> Kind:
    """Seconds: a text has a unit, a number is of seconds."""

    def read(value: Any, name: str) -> float:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise UsageError(f"{name} is {value!r}.", "Give a number of seconds above 0, or a text such as '30m'.")
        return float(value)

    return Kind(read, "TIME")


def share(parse: Callable[[str], float]) -> Kind:
    """A share of one: the text `5%`, or the number 0.05."""

    def read(value: Any, name: str) -> float:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.001 <= value < 1:
            raise UsageError(f"{name} is {value!r}.", "Give a text such as '5%', or a number between 0.001 and 1.")
        return float(value)

    return Kind(read, "PERCENT")


def switch() -> Kind:
    """True or False."""

    def read(value: Any, name: str) -> bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}.", "Give true or false.")
        return value

    return Kind(read, is_switch=True)


def file(*, must_exist: bool = True) -> Kind:
    """The path of a file."""

    def read(value: Any, name: str) -> Path:
        if not isinstance(value, (str, os.PathLike)):
            raise UsageError(
                f"{name} is a value of type {type(value).__name__}, not the path of a file.",
                "Give a path; arrays are saved with numpy.savez or numpy.save first.",
            )
        path = Path(value)
        if must_exist and not os.path.isfile(path):
            raise UsageError(f"There is no file {path}, which {name} names.", "Check the path.")
        return path

    return Kind(read, "FILE", is_file=True, must_exist=must_exist)


def repeated(kind: Kind) -> Kind:
    """Several values of a kind, as a tuple; one alone is a tuple of one."""

    def read(value: Any, name: str) -> tuple[Any, ...]:
        values = value if isinstance(value, (list, tuple)) else [value]
        return tuple(kind.read(item, name) for item in values)

    return dataclasses.replace(kind, read=read, repeats=True)


def sweep(parse: Callable[[str], Iterable[Any]], item: Callable[[Any, str], Any], metavar: str = "LIST") -> Kind:
    """Values to be swept, as a tuple without repetition: a text that `parse` takes apart, one value, or a sequence of
    either. `item` reads and checks each of them.
    """

    def read(value: Any, name: str) -> tuple[Any, ...]:
        if isinstance(value, str):
            return tuple(dict.fromkeys(item(part, name) for part in parse(value)))
        if isinstance(value, (list, tuple, range)):
            if not value:
                raise UsageError(f"{name} names no value.", "Leave it out, or give at least one.")
            return tuple(dict.fromkeys(single for part in value for single in read(part, name)))
        if isinstance(value, Iterable):
            raise UsageError(f"{name} is {value!r}, and not one value or a list.", "Write a list, such as [1, 8].")
        return (item(value, name),)

    return Kind(read, metavar)


def whole_number(value: Any, name: str) -> int:
    """A whole number, from a number or a text. Raises UsageError."""
    try:
        if isinstance(value, bool | bytes) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(value)
        return int(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} is {value!r}, not a whole number.", "Write it as 8.") from error


def values_from(table: Mapping[str, Any], options: Iterable[Option], where: str) -> dict[str, Any]:
    """What a file or a call says, by fields. Names are those of the fields, or the flags of the command line without
    dashes or with underscores; a switch that is on from the beginning is also written as the command line turns it off.
    Raises UsageError for a name that there is not, with the nearest ones.
    """
    by_name = {name: known for known in options for name in (known.key, known.key.replace("-", "_"), known.field)}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in by_name:
            near = get_close_matches(name, by_name, n=3)
            hint = f"Perhaps you mean {' or '.join(near)}." if near else "`harness run --help` lists them."
            raise UsageError(f"{where} has no option {name!r}.", hint)
        chosen = by_name[name]
        if chosen.kind.is_switch and name != chosen.field and name.startswith(("no-", "no_")):
            value = not chosen.kind.read(value, name)
        values[chosen.field] = value
    return values
