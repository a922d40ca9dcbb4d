"""What `harness devices` does and prints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.conditions.readings import Reading
from harness.energy.android import find
from harness.energy.source import Missing
from harness.errors import HarnessError
from harness.report.machine import dump_json
from harness.targets.transports.devices import Device, at_hand, devices_file, read_devices

# What there is to know of a device beside what any one can measure, and the reading that tells.
_STATE = {
    "clock": "cpu_frequency_limit_mhz",
    "governor": "frequency_governor",
    "temperature": "temperature_celsius",
    "throttling": "thermal_status",
    "charging": "battery_status",
}


def devices(file: str | None, as_json: bool) -> None:
    """Show the devices that the devices file names and those that adb sees, and what can be read of each."""
    known = read_devices(None if file is None else Path(file))
    present_devices = at_hand(known)
    with ThreadPoolExecutor(max(1, len(present_devices))) as pool:
        rows = list(pool.map(_row, present_devices))
    for row in rows:
        row["default"] = row["device"] == known.default
    if as_json:
        click.echo(dump_json("devices", rows), nl=False)
    elif rows:
        _print(rows)
    else:
        click.echo(f"No device: adb sees none, and {file or devices_file()} names none.")
        click.echo("`harness devices --help` shows how to name one.")


def _row(device: Device) -> dict[str, Any]:

    transport = device.connect()
    row: dict[str, Any] = {
        "device": device.name or f"{device.transport}:{device.address}",
        "transport": device.transport,
        "address": device.address,
    }
    try:
        machine = transport.machine()
    except HarnessError as error:
        return row | {"reachable": False, "reason": error.message, "todo": error.hint, "machine": None, "readings": []}
    readings = transport.describe()
    try:
        power = find(transport.ask)
    except HarnessError as error:
        power = Missing(error.message.rstrip("."), error.hint)
    target = "arm64" if machine == "aarch64" else None
    return row | {
        "reachable": True,
        "reason": None if target else f"It is {machine}: no target of harness runs there.",
        "todo": None if target else "Give a 64-bit Arm device.",
        "machine": machine,
        "target": target,
        "wanted": {"cpus": device.cpus, "governor": device.governor, "below_celsius": device.wait_below_celsius},
        "can_read": [word for word, name in _STATE.items() if _value(readings, name) is not None],
        "energy": None if isinstance(power, Missing) else f"{power.name} ({power.tier})",
        "no_energy": f"{power.reason}. {power.todo}".strip() if isinstance(power, Missing) else None,
        "readings": [{"name": r.name, "value": r.value, "reason": r.reason} for r in readings],
    }


def _value(readings: list[Reading], name: str) -> str | None:
    return next((reading.value for reading in readings if reading.name == name), None)


def _print(rows: list[dict[str, Any]]) -> None:

    heads = ("device", "reachable", "what", "processors", "now", "can be read", "cannot")
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    console = Console(highlight=False)
    notes = []
    for row in rows:
        state = {reading["name"]: reading["value"] for reading in row["readings"]}
        can = [*row.get("can_read", []), *(["energy"] if row.get("energy") else [])]
        what = [state.get("device_model"), state.get("soc"), None if state.get("soc") else row["machine"]]
        now = [
            f"{state['temperature_celsius']} °C" if state.get("temperature_celsius") else None,
            state.get("frequency_governor"),
            state.get("battery_status"),
        ]
        cells = (
            row["device"] + (" (default)" if row["default"] else ""),
            "yes" if row["reachable"] else "no",
            ", ".join(word for word in what if word),
            state.get("cpu_model") or "",
            ", ".join(word for word in now if word),
            ", ".join(can),
            ", ".join(word for word in (*_STATE, "energy") if word not in can) if row["reachable"] else "",
        )
        table.add_row(*map(escape, cells))
        if row.get("energy") or row.get("no_energy"):
            notes.append(f"{row['device']}: energy: {row['energy'] or 'none: ' + row['no_energy']}")
        if row["reason"]:
            notes.append(f"{row['device']}: {row['reason']} {row['todo']}")
    console.print(table)
    for note in notes:
        console.print(escape(note), soft_wrap=True)
