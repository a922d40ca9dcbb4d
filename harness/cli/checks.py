"""What `harness doctor` does and prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.experiment.readiness import Check, examine
from harness.report.machine import dump_json
from harness.target import find_target


def doctor(
    ctx: click.Context, target_name: str, device: str | None, devices: str | None, results: Path, as_json: bool
) -> None:
    """Look at a target before a run: governor, clock, temperature, other load, stolen time, memory, disk."""
    chosen = {name: value for name, value in (("device", device), ("devices", devices)) if value is not None}
    checks = examine(find_target(target_name, **chosen), results)
    problems = any(check.state == "problem" for check in checks)
    if as_json:
        data = {"target": target_name, "can_measure": not problems, "checks": [asdict(check) for check in checks]}
        click.echo(dump_json("doctor", data), nl=False)
    else:
        _print(checks)
    ctx.exit(1 if problems else 0)


def _print(checks: list[Check]) -> None:

    table = Table("check", "", "value", "what to know", "what to do", box=None, pad_edge=False, header_style="bold")
    styles = {"ok": "green", "warning": "yellow", "problem": "red", "unknown": "yellow"}
    for check in checks:
        cells = (check.value or "", check.what or "", check.todo or "")
        state = f"[{styles[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, *(escape(cell.replace("`", "")) for cell in cells))
    Console(highlight=False).print(table)
