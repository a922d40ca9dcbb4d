"""Reading Vela's description of a system: how fast its memories are, and what lies in which of them."""

from __future__ import annotations

from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.targets.npu.configuration import Configuration, ini_path

_AREAS = {"Sram": "sram", "Dram": "dram", "OffChipFlash": "flash", "OnChipFlash": "on_chip_flash"}


@dataclass(frozen=True)
class Memories:
    """What a system and a memory mode come to: the clock, bytes per second of each memory, and what lies where.

    Keys are sram, dram, flash (off chip) and on_chip_flash; memories that the system does not have are absent.
    """

    clock_hz: float
    bytes_per_s: dict[str, float]
    weights: str
    activations: str


def memories(configuration: Configuration) -> Memories:
    """Read the system and the memory mode out of `vela.ini`. Raises UsageError naming the line of what is wrong."""
    path = ini_path(configuration)
    parser = ConfigParser()
    try:
        text = path.read_text(encoding="utf-8")
        parser.read_string(text, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}).", "Check `vela_ini` in the configuration.") from error
    except Error as error:
        number = getattr(error, "lineno", None) or (getattr(error, "errors", None) or [(None, "")])[0][0]
        what = str(error).replace("\n", " ").partition("]")[0] if number is None else type(error).__name__
        raise UsageError(f"{path}, line {number}: {what}.", "Write it as in Arm's own vela.ini.") from error
    reader = _Reader(path, text.splitlines(), parser)
    system = f"System_Config.{configuration.system_config}"
    mode = f"Memory_Mode.{configuration.memory_mode}"
    clock = reader.number(system, "core_clock")
    ports = {"Axi0": reader.area(system, "axi0_port"), "Axi1": reader.area(system, "axi1_port")}
    # Vela's own rule: a port moves so many bytes a core cycle, times the scale of the memory's clock.
    width = 16 if "u85" in configuration.accelerator or "u65" in configuration.accelerator else 8
    speeds = {
        _AREAS[area]: clock
        * width
        * reader.number(system, f"{area}_clock_scale")
        * reader.number(system, f"{area}_ports_used", 1.0)
        for area in ports.values()
    }
    places = {key: reader.text(mode, f"{key}_mem_area") for key in ("const", "arena")}
    for key, port in places.items():
        if port not in ports:
            raise reader.wrong(mode, f"{key}_mem_area", f"{port!r} is neither Axi0 nor Axi1")
    return Memories(clock, speeds, _AREAS[ports[places["const"]]], _AREAS[ports[places["arena"]]])


@dataclass(frozen=True)
class _Reader:
    """Values of a `vela.ini`, with `inherit` followed as Vela does, and errors that name a line."""

    path: Path
    lines: list[str]
    parser: ConfigParser

    def text(self, section: str, key: str, default: str | None = None) -> str:
        if not self.parser.has_section(section):
            kind = section.partition(".")[0]
            names = [name.partition(".")[2] for name in self.parser.sections() if name.startswith(kind)]
            raise UsageError(f"{self.path} has no section [{section}].", f"It has: {', '.join(names) or 'none'}.")
        seen: list[str] = []
        while section not in seen:
            seen.append(section)
            if self.parser.has_option(section, key):
                return self.parser.get(section, key, raw=True)
            if not self.parser.has_option(section, "inherit"):
                break
            parent = self.parser.get(section, "inherit", raw=True)
            if not self.parser.has_section(parent):
                raise self.wrong(section, "inherit", f"there is no section [{parent}]")
            section = parent
        if default is None:
            raise self.wrong(seen[0], None, f"[{seen[0]}] lacks {key}")
        return default

    def number(self, section: str, key: str, default: float | None = None) -> float:
        text = self.text(section, key, None if default is None else str(default))
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise self.wrong(section, key, f"{key} is {text!r}, which is no positive number")
        return value

    def area(self, section: str, key: str) -> str:
        name = self.text(section, key)
        if name not in _AREAS:
            raise self.wrong(section, key, f"{key} is {name!r}, not one of {', '.join(_AREAS)}")
        return name

    def wrong(self, section: str, key: str | None, what: str) -> UsageError:
        inside, number = False, 0
        for line, text in enumerate(self.lines, 1):
            stripped = text.strip()
            if stripped.startswith("["):
                inside = stripped == f"[{section}]"
                number = line if inside and not number else number
            elif inside and key is not None and stripped.lower().partition("=")[0].strip() == key.lower():
                number = line
        return UsageError(f"{self.path}, line {number}: {what}.", "Write it as in Arm's own vela.ini.")
