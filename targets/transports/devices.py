"""devices.toml: names for devices, how to get to them, and the conditions that are wanted of them.

default = "phone"

[phone]
transport = "adb"
serial = "R58N12ABCDE"            # left out: the only one attached
cpus = [4, 5, 6, 7]               # the worker is pinned to these
wait_below_celsius = 40           # before each job, for wait_limit_s seconds at most (default 300)
governor = "schedutil"            # the one expected, where it cannot be `performance`

[board]
transport = "ssh"
host = "pi@board"                 # as `ssh` takes it
folder = "/mnt/ssd/harness"       # where files are kept; left out: see the transport
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError, WorkerError
from harness.outside_files import read_toml
from harness.targets.transports.adb import Adb, attached, may_be_attached
from harness.targets.transports.remote import Remote
from harness.targets.transports.ssh import Ssh

VARIABLE = "HARNESS_DEVICES"
_TRANSPORTS = ("adb", "ssh")
_TAKEN = ("local", "qemu", *_TRANSPORTS)
# The type of each field, and how to say it.
_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "transport": (str, "text"),
    "serial": (str, "text"),
    "host": (str, "text"),
    "folder": (str, "text"),
    "governor": (str, "text"),
    "cpus": (list, "a list of processor numbers"),
    "wait_below_celsius": ((int, float), "a number"),
    "wait_limit_s": ((int, float), "a number"),
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """`name` is None for a device that no file names. `address` is a serial number or a host, None for the only device
    that is attached. None among the conditions: nothing is asked.
    """

    transport: str
    name: str | None = None
    address: str | None = None
    folder: str | None = None
    cpus: tuple[int, ...] | None = None
    governor: str | None = None
    wait_below_celsius: float | None = None
    wait_limit_s: float = 300.0

    def connect(self) -> Remote:
        """A transport to it; nothing is sent yet. Raises UsageError for a host that is none."""
        if self.transport == "adb":
            return Remote(Adb(self.address, name=self.name, folder=self.folder))
        return Remote(Ssh(self.address or "", name=self.name, folder=self.folder))


@dataclass(frozen=True)
class Devices:
    """The devices of a file by name, and the one it prefers."""

    by_name: Mapping[str, Device]
    default: str | None = None

    def find(self, text: str) -> Device | None:
        """The device of that name, or of an address `adb:SERIAL`, `adb`, `ssh:HOST`; None where it is neither."""
        if text in self.by_name:
            return self.by_name[text]
        transport, _, address = text.partition(":")
        if transport == "adb" or (transport == "ssh" and address):
            return Device(transport=transport, address=address or None)
        return None


def devices_file() -> Path:
    """$HARNESS_DEVICES, or `devices.toml` in the platform's configuration folder for harness."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    from platformdirs import user_config_path

    return user_config_path("harness") / "devices.toml"


def read_devices(path: Path | None = None) -> Devices:
    """The devices of a file, by default of `devices_file()`, which need not exist. Raises UsageError."""
    asked = path is not None or VARIABLE in os.environ
    path = path or devices_file()
    if not asked and not os.path.exists(path):
        return Devices({})
    todo = "Mend it, or name another with --devices or HARNESS_DEVICES."
    return read_toml(path, lambda content, _: _devices(content, path), "file of devices", todo)


def _devices(content: dict[str, Any], path: Path) -> Devices:
    default = content.pop("default", None)
    devices = {name: _device(name, table, path) for name, table in content.items()}
    if default is not None and default not in list(devices):  # it may be anything that TOML has
        raise UsageError(f"{path} has no device {default!r}, its default.", f"It has: {', '.join(devices) or 'none'}.")
    return Devices(devices, default)


def at_hand(known: Devices) -> list[Device]:
    """The devices of the file, and those that adb sees besides; the only one attached is not named twice."""
    devices = list(known.by_name.values())
    named = {device.address for device in devices if device.transport == "adb"}
    with contextlib.suppress(WorkerError):
        if None not in named and may_be_attached():
            devices += [Device(transport="adb", address=serial) for serial in attached() if serial not in named]
    return devices


def _device(name: str, table: Any, path: Path) -> Device:
    where = f"{path}, device {name}"
    if name in _TAKEN or ":" in name:
        raise UsageError(f"{where}: this name has a meaning of its own.", "Choose another.")
    if not isinstance(table, dict):
        raise UsageError(f"{where}: it is no table.", f"Begin it with [{name}].")
    if unknown := sorted(set(table) - set(_FIELDS)):
        raise UsageError(f"{where}: there is no {unknown[0]}.", f"Known are: {', '.join(_FIELDS)}.")
    for field, value in table.items():
        kind, words = _FIELDS[field]
        endless = isinstance(value, float) and not math.isfinite(value)
        if not isinstance(value, kind) or isinstance(value, bool) or endless:
            raise UsageError(f"{where}: {field} is not {words}.", "Mend it there.")
    transport = table.get("transport")
    if transport not in _TRANSPORTS:
        raise UsageError(f"{where}: its transport is {transport!r}.", f"Choose one of: {', '.join(_TRANSPORTS)}.")
    cpus = table.get("cpus")
    if cpus is not None and not (cpus and all(type(cpu) is int and cpu >= 0 for cpu in cpus)):
        raise UsageError(f"{where}: cpus is not {_FIELDS['cpus'][1]}.", "Such as: cpus = [4, 5]")
    address = table.get("serial" if transport == "adb" else "host")
    if transport == "ssh" and not address:
        raise UsageError(f"{where}: it has no host.", 'Such as: host = "pi@board"')
    return Device(
        transport=transport,
        name=name,
        address=address,
        folder=table.get("folder"),
        cpus=None if cpus is None else tuple(sorted(set(cpus))),
        governor=table.get("governor"),
        wait_below_celsius=table.get("wait_below_celsius"),
        wait_limit_s=float(table.get("wait_limit_s", 300.0)),
    )
