"""`harness doctor`: whether this machine, or a device, can measure now."""

from __future__ import annotations

from typing import Any

import click

from harness.cli._options import results_option


@click.command(short_help="Say whether a target can measure now, and what to do.")
@click.option("--target", "-t", "target_name", default="x86", show_default=True, help="Which target to look at.")
@click.option("--device", metavar="DEVICE", help="Which device of the target, as `harness run` takes it.")
@click.option("--devices", type=click.Path(path_type=str, exists=True, dir_okay=False), help="The devices file.")
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, /, **options: Any) -> None:
    """Look at a target before a run: governor, clock, temperature, other load, stolen time, memory, disk.

    Takes two seconds, starts no worker and writes nothing. Exit codes: 0 it can measure (perhaps with warnings), 1 it
    cannot.

    \b
    harness doctor
    harness doctor -t arm64 --device adb
    """
    from harness.cli import checks

    checks.doctor(ctx, **options)
