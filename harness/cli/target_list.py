"""What `harness targets` prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.errors import HarnessError
from harness.experiment.energy_pass import describe
from harness.report.machine import dump_json
from harness.runtime import Runtime, availability, find_runtime, runtime_names
from harness.target import find_target, target_names


def targets(ctx: click.Context, as_json: bool, with_options: bool) -> None:
    """Show the targets, what each can measure, and what it lacks; or the options of runtimes; or build what a target
    needs.
    """
    if ctx.invoked_subcommand is not None:
        return

    runtimes, broken = {}, []
    for name in runtime_names():
        try:
            runtimes[name] = find_runtime(name)
        except HarnessError as error:
            broken.append(str(error))
    rows = []
    for name in target_names():
        try:
            target = find_target(name)
        except HarnessError as error:
            rows.append({"target": name, "available": False, "reason": error.message, "todo": error.hint})
            continue
        state = target.availability()
        rows.append(
            {
                "target": name,
                "summary": target.summary,
                "available": state.available,
                "reason": state.reason or None,
                "todo": state.todo or None,
                "capabilities": asdict(target.capabilities),
                "runtimes": [_runtime(runtimes[name]) for name in target.capabilities.runtimes],
                "energy": describe(target) if target.capabilities.energy and state.available else None,
            }
        )
    if as_json:
        click.echo(dump_json("targets", rows), nl=False)
        return
    if with_options:
        _print_options(runtimes.values())
        return
    _print(rows)
    for message in broken:
        click.echo(message)


def _runtime(runtime: Runtime) -> dict[str, Any]:
    """What a runtime of a target loads, and what it lacks here."""
    state, can = availability(runtime), runtime.capabilities
    return {
        "runtime": runtime.name,
        "formats": [*can.formats, *can.on_request],
        "available": state.available,
        "reason": state.reason or None,
        "todo": state.todo or None,
        "options": [asdict(option) for option in can.options],
    }


def _print_options(runtimes: Iterable[Runtime]) -> None:
    """Each option of each runtime with the values that it may have, its default and what it does."""
    with_any = [runtime for runtime in runtimes if runtime.capabilities.options]
    if not with_any:
        click.echo("No runtime here has options.")
    for runtime in with_any:
        click.echo(f"{runtime.name} ({' '.join((*runtime.capabilities.formats, *runtime.capabilities.on_request))}):")
        for option in runtime.capabilities.options:
            values = "|".join(option.values) or "N"
            click.echo(f"  --runtime-option {option.name}={values} [default: {option.default}]")
            click.echo(f"      {option.help}")


def _print(rows: list[dict[str, object]]) -> None:
    table = Table(
        "target",
        "here",
        "models",
        "latency",
        "scenarios",
        "also measures",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    notes = []
    for row in rows:
        can = row.get("capabilities")
        assert can is None or isinstance(can, dict)
        energy = row.get("energy")
        assert energy is None or isinstance(energy, dict)
        answers = energy is not None and energy["source"] is not None
        also = [
            name.replace("_", " ")
            for name, value in (can or {}).items()
            if value is True and (name != "energy" or answers) and name != "python_worker"  # which measures nothing
        ]
        table.add_row(
            escape(str(row["target"])),
            "yes" if row["available"] else "no",
            " ".join((can or {}).get("formats", ())),
            str((can or {}).get("latency") or "none"),
            ", ".join((can or {}).get("scenarios", ())),
            ", ".join(also),
        )
        notes.append(f"{row['target']}: {row.get('summary', '')}")
        runtimes = row.get("runtimes") or []
        assert isinstance(runtimes, list)
        if runtimes:
            usable = [f"{each['runtime']} ({' '.join(each['formats'])})" for each in runtimes if each["available"]]
            notes.append(f"{row['target']}: runtimes: {', '.join(usable) or 'none'}")
        notes += [
            f"{row['target']}: {lacking['runtime']} ({' '.join(lacking['formats'])}) is not available: "
            f"{lacking['reason']}. {lacking['todo'] or ''}"
            for lacking in runtimes
            if not lacking["available"]
        ]
        if energy is not None:
            source = f"{energy['source']} ({energy['tier']})"
            missing = f"none, {energy['reason']}. {energy['todo'] or ''}"
            notes.append(f"{row['target']}: energy: {source if answers else missing}")
        if not row["available"]:
            notes.append(f"{row['target']} is not available: {row['reason']}. {row['todo'] or ''}")
    console = Console(highlight=False)
    console.print(table)
    for note in notes:
        console.print(escape(note), soft_wrap=True)
