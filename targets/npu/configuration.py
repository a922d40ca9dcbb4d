"""A configuration of the accelerator: its array, its memories, and where weights and activations lie in them.

The memory mode is always said: Vela's own default for a U85 pretends that all weights lie in SRAM.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.outside_files import read_toml
from harness.targets.simulated import device_files

DEFAULT = "u85-256-flash"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """`accelerator`, `system_config` and `memory_mode` are Vela's names, `tosa` is the version and the extensions of
    TOSA that the accelerator takes. `vela_ini` is Arm's file that comes with Vela, or the user's own.
    """

    name: str
    summary: str
    accelerator: str
    system_config: str
    memory_mode: str
    tosa: str
    vela_ini: str = "Arm/vela.ini"

    @property
    def has_matmul(self) -> bool:
        """Whether two activations can be multiplied with each other, as attention does."""
        return "+u55" not in self.tosa

    @property
    def macs_per_cycle(self) -> int:
        """The size of the array, the last part of the accelerator's name."""
        return int(self.accelerator.rpartition("-")[2])

    def digest(self) -> str:
        """12 hexadecimal digits that change with anything that Vela is told."""
        arguments = {key: value for key, value in asdict(self).items() if key not in ("name", "summary")}
        arguments["vela_ini"] = hashlib.sha256(ini_path(self).read_bytes()).hexdigest()
        return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:12]


def names() -> tuple[str, ...]:
    """The configurations that come with harness, the default first."""
    return device_files.names(_FOLDER, DEFAULT)


def find(name: str | None) -> Configuration:
    """The configuration of that name, or of a TOML file of the user's (with the same keys; `vela_ini` relative to it).

    Raises UsageError, listing the known ones, for what is neither, and for a file that does not say what it must.
    """
    path = device_files.locate(_FOLDER, DEFAULT, name)
    keys = ", ".join(f.name for f in fields(Configuration) if f.name not in ("name", "summary"))

    def parse(keys: dict[str, Any], _: str) -> Configuration:
        keys.setdefault("summary", path.stem)
        if "vela_ini" in keys and keys["vela_ini"] != Configuration.vela_ini:
            keys["vela_ini"] = str((path.parent / keys["vela_ini"]).resolve())
        configuration = Configuration(name=path.stem, **keys)
        if wrong := [f.name for f in fields(configuration) if not isinstance(getattr(configuration, f.name), str)]:
            raise TypeError(f"`{wrong[0]}` is no text")
        if not configuration.macs_per_cycle:
            raise ValueError("`accelerator` names no array")
        return configuration

    return read_toml(path, parse, "configuration", f"It must say {keys}.")


def ini_path(configuration: Configuration) -> Path:
    """Where the memories are described. Arm's file is found without importing Vela, which takes a second."""
    if configuration.vela_ini != Configuration.vela_ini:
        return Path(configuration.vela_ini)
    spec = find_spec("ethosu")
    assert spec is not None, "the target was available"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "config_files" / Configuration.vela_ini
