"""`harness doctor`: whether this machine, or a device, can measure now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli._options import results_option

if TYPE_CHECKING:
    from harness.experiment.readiness import Check


@click.command(short_help="Say whether a target can measure now, and what to do.")
@click.option("--target", "-t", "target_name", default="x86", show_default=True, help="Which target to look at.")
@click.option("--device", metavar="DEVICE", help="Which device of the target, as `harness run` takes it.")
@click.option("--devices", type=click.Path(path_type=str, exists=True, dir_okay=False), help="The devices file.")
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(
    ctx: click.Context, target_name: str, device: str | None, devices: str | None, results: Path, as_json: bool
) -> None:
    """Look at a target before a run: governor, clock, temperature, other load, stolen time, memory, disk.

    Takes two seconds, starts no worker and writes nothing. Exit codes: 0 it can measure (perhaps with warnings), 1 it
    cannot.

    \b
    harness doctor
    harness doctor -t arm64 --device adb
    """
    from dataclasses import asdict

    from harness.experiment.readiness import examine
    from harness.report.machine import dump_json
    from harness.target import find_target

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
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", "value", "what to know", "what to do", box=None, pad_edge=False, header_style="bold")
    styles = {"ok": "green", "warning": "yellow", "problem": "red", "unknown": "yellow"}
    for check in checks:
        cells = (check.value or "", check.what or "", check.todo or "")
        state = f"[{styles[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, *(escape(cell.replace("`", "")) for cell in cells))
    Console(highlight=False).print(table)
