"""What `harness targets` prints."""

from __future__ import annotations

from dataclasses import asdict

import click

from harness.cli.targets import _print, _runtime
from harness.errors import HarnessError
from harness.experiment.energy_pass import describe
from harness.report.machine import dump_json
from harness.runtime import find_runtime, runtime_names
from harness.target import find_target, target_names


def targets(ctx: click.Context, as_json: bool) -> None:
    """Show the targets, what each can measure, and what it lacks; or build what one needs."""
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
    _print(rows)
    for message in broken:
        click.echo(message)
