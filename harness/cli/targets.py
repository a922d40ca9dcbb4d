"""`harness targets`: what can be measured here, and what is missing for the rest."""

from __future__ import annotations

from typing import Any

import click

from harness.cli._targets_build import build


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--options", "with_options", is_flag=True, help="Show what `--runtime-option` sets, of each runtime.")
@click.pass_context
def targets(ctx: click.Context, /, **options: Any) -> None:
    """Show the targets, what each can measure, and what it lacks; or build what one needs.

    \b
    harness targets
    harness targets --options
    harness targets build arm64
    """
    from harness.cli import target_list

    target_list.targets(ctx, **options)


targets.add_command(build)
