"""`harness targets`: what can be measured here, and what is missing for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from harness.cli._targets_build import build

if TYPE_CHECKING:
    from harness.runtime import Runtime


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def targets(ctx: click.Context, /, **options: Any) -> None:
    """Show the targets, what each can measure, and what it lacks; or build what one needs.

    \b
    harness targets
    harness targets build arm64
    """
    from harness.cli import target_list

    target_list.targets(ctx, **options)


targets.add_command(build)


def _runtime(runtime: Runtime) -> dict[str, Any]:
    """What a runtime of a target loads, and what it lacks here."""
    from harness.runtime import availability

    state, can = availability(runtime), runtime.capabilities
    return {
        "runtime": runtime.name,
        "formats": [*can.formats, *can.on_request],
        "available": state.available,
        "reason": state.reason or None,
        "todo": state.todo or None,
    }


def _print(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

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
            if value is True and (name != "energy" or answers)
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
            found = f"{energy['source']} ({energy['tier']})"
            missing = f"none, {energy['reason']}. {energy['todo'] or ''}"
            notes.append(f"{row['target']}: energy: {found if answers else missing}")
        if not row["available"]:
            notes.append(f"{row['target']} is not available: {row['reason']}. {row['todo'] or ''}")
    console = Console(highlight=False)
    console.print(table)
    for note in notes:
        console.print(escape(note), soft_wrap=True)
