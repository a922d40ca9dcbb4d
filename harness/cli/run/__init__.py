"""`harness run`: measure models on a target and print the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli._options import format_option, json_option, results_option, short_option
from harness.cli.run.options import SectionedCommand, request_options

if TYPE_CHECKING:
    from harness.report.rendering import Format


@click.command(cls=SectionedCommand)
@click.argument("plan", required=False, type=click.Path(path_type=Path, dir_okay=False))
@request_options
@results_option
@format_option
@json_option
@short_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be run, about how long it takes, and what difference it could show, going by the noise of "
    "earlier sessions; measure and store nothing.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def run(
    plan: Path | None,
    results: Path,
    fmt: Format,
    as_json: bool,
    short: bool,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure models on a target, interleaved, and print the comparison.

    Every model runs in worker processes of its own: first for memory, then for latency in interleaved blocks, then for
    quality. Every sample is kept in Parquet; `harness compare` prints the table again. PLAN, a TOML or JSON file, has
    the options below as its keys; what is given here counts more.

    \b
    harness run --target x86 --model baseline.pte --model selfcomp.pte
    harness run -t x86 -m mlp.pte --scenario offline --threads 1,2 --batch 1,8
    harness run -t x86 -m baseline -m selfcomp --resolve 5% --max-time 10m
    harness run -t x86 -m mlp.pte --scenario server --latency-bound 15ms
    harness run -t x86 -m baseline -m selfcomp --scenario sustained --duration 30m
    harness run plan.toml --dry-run
    """
    from harness.cli.run import command

    request, folder = command.request_of(plan, results, options)
    command.run(request, folder, "json" if as_json else fmt, short=short, dry_run=dry_run, quiet=quiet)
