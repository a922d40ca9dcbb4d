"""Device profiles: the limits of a device in a TOML file, each with its source, beside the cells they were fitted to.

Some are shipped, of published devices; `harness flash profile` writes one of the device at hand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from harness.errors import UsageError
from harness.flash.device_model.throughput import NAMES, Cell, Limits, fit, held_out_errors, unreached
from harness.outside_files import read_toml, write_whole

Origin = Literal["measured", "published", "derived", "illustrative"]
"""`derived` was computed from published figures; `illustrative` is an assumption that no source supports."""

SHIPPED = Path(str(files("harness.flash.device_model") / "profiles"))


@dataclass(frozen=True)
class Parameter:
    """A value in the unit of its name, and where it comes from."""

    value: float
    origin: Origin
    source: str


@dataclass(frozen=True)
class HeldOut:
    """Errors of cells that the fit had not seen (leave one out), as fractions: root mean square, and the worst."""

    rms: float
    worst: float


@dataclass(frozen=True)
class Profile:
    """A device. `sizes` (bytes) and `depths` are the range it was observed in, None where its source does not say;
    `notes` are sentences.
    """

    name: str
    summary: str
    parameters: dict[str, Parameter]
    sizes: tuple[int, int] | None = None
    depths: tuple[int, int] | None = None
    held_out: HeldOut | None = None
    cells: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """The values alone."""
        return Limits(**{name: parameter.value for name, parameter in self.parameters.items()})

    def as_json(self) -> dict[str, Any]:
        """All fields; the value of a limit that nobody knows, infinite in the model, is None: JSON has no infinity."""
        fields = asdict(self)
        for parameter in fields["parameters"].values():
            parameter["value"] = parameter["value"] if math.isfinite(parameter["value"]) else None
        return fields

    def doubts(self, sizes: Sequence[int], depth: int) -> list[str]:
        """What to know of a projection of reads of `sizes` bytes at `depth`: a sentence for each step outside of what
        was observed, and for each assumption among the parameters.
        """
        assumed: dict[str, list[str]] = {}
        for name, parameter in self.parameters.items():
            if parameter.origin == "illustrative":
                assumed.setdefault(parameter.source, []).append(name)
        sentences = [f"Illustrative in {self.name}: {', '.join(names)}: {source}" for source, names in assumed.items()]
        if self.sizes and sizes and not self.sizes[0] <= min(sizes) <= max(sizes) <= self.sizes[1]:
            sentences.append(
                f"Reads of {min(sizes)} to {max(sizes)} bytes are an extrapolation: "
                f"{self.name} was observed from {self.sizes[0]} to {self.sizes[1]}."
            )
        if self.depths and not self.depths[0] <= depth <= self.depths[1]:
            sentences.append(
                f"Depth {depth} is an extrapolation: {self.name} was observed "
                f"from {self.depths[0]} to {self.depths[1]}."
            )
        return sentences


def from_cells(name: str, summary: str, cells: Sequence[Cell], origin: Origin, source: str) -> Profile:
    """A profile fitted to `cells`; a limit that they never met is left unknown. Raises UsageError as `fit` does."""
    limits = fit(cells)
    held_out = np.abs(held_out_errors(cells))
    unknown = dict.fromkeys(unreached(limits, cells), math.inf)
    if "latency_ns" in unknown:
        unknown["latency_ns"] = 0.0
    unknown.pop("bytes_per_s", None)  # the form needs it; then it is what the sharpness makes of the other limits
    sizes, depths = [cell.read_bytes for cell in cells], [cell.depth for cell in cells]
    return Profile(
        name=name,
        summary=summary,
        parameters={
            key: Parameter(unknown[key], origin, f"no limit was met: {source}")
            if key in unknown
            else Parameter(getattr(limits, key), origin, source)
            for key in NAMES
        },
        sizes=(min(sizes), max(sizes)),
        depths=(min(depths), max(depths)),
        held_out=HeldOut(float(np.sqrt((held_out**2).mean())), float(held_out.max())),
        cells=tuple(cells),
    )


def shipped() -> list[str]:
    """The names of the profiles that come with harness."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(name: str) -> Profile:
    """The shipped profile of that name, or the one in the file of that path.

    Raises UsageError where there is neither, or the file is no profile.
    """
    if name in shipped():
        return read(SHIPPED / f"{name}.toml")
    if not os.path.isfile(name):
        raise UsageError(
            f"{name} is neither a shipped device profile nor a file.",
            f"Choose from {', '.join(shipped())}, or measure one with `harness flash profile`.",
        )
    return read(Path(name))


def read(path: Path) -> Profile:
    """The profile in a file. Raises UsageError where it cannot be read, or lacks or misstates a key."""
    todo = "Measure it again with `harness flash profile`."
    return read_toml(path, lambda facts, _: parse(facts), "device profile", todo)


def write(path: Path, profile: Profile) -> None:
    """Write it as TOML. Raises UsageError where the file cannot be written."""
    import tomli_w

    facts = {key: value for key, value in asdict(profile).items() if value is not None and value != ()}
    facts = {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}
    write_whole(path, tomli_w.dumps(facts), "Name another file.")


def parse(facts: dict[str, Any]) -> Profile:
    """The profile that a TOML file says. Raises ValueError, TypeError or KeyError for what is none."""
    if strange := facts.keys() - Profile.__dataclass_fields__.keys():
        raise ValueError(f"unknown key {min(strange)!r}")
    given = dict(facts["parameters"])
    if strange := given.keys() - set(NAMES):
        raise ValueError(f"unknown parameter {min(strange)!r}")
    profile = Profile(
        name=str(facts["name"]),
        summary=str(facts["summary"]),
        parameters={name: _parameter(name, given[name]) for name in NAMES},
        sizes=_range("sizes", facts.get("sizes")),
        depths=_range("depths", facts.get("depths")),
        held_out=HeldOut(**_numbers(facts["held_out"])) if "held_out" in facts else None,
        cells=tuple(Cell(**_numbers(cell)) for cell in facts.get("cells", ())),
        notes=tuple(map(str, facts.get("notes", ()))),
    )
    profile.limits  # noqa: B018 - its values are checked here
    return profile


def _parameter(name: str, facts: dict[str, Any]) -> Parameter:
    parameter = Parameter(**facts)
    _numbers({f"the value of {name}": parameter.value})
    if parameter.origin not in get_args(Origin):
        raise ValueError(f"the origin of {name} is {parameter.origin!r}, not one of {', '.join(get_args(Origin))}")
    if not str(parameter.source).strip():
        raise ValueError(f"{name} names no source")
    return Parameter(float(parameter.value), parameter.origin, str(parameter.source))


def _numbers(facts: dict[str, Any]) -> dict[str, Any]:
    for name, value in facts.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} is {value!r}, not a number")
    return facts


def _range(name: str, given: Any) -> tuple[int, int] | None:
    if given is None:
        return None
    low, high = given
    if not (isinstance(low, int) and isinstance(high, int) and 0 < low <= high):
        raise ValueError(f"{name} is {given!r}, not two positive whole numbers in order")
    return low, high
