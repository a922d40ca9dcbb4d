"""`harness zoo`: all models of the zoo that share a parent, measured for one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli._options import results_option
from harness.cli.run.options import SectionedCommand, some_request_options

_TAKEN = (
    *("target", "scenario", "device", "runtime", "processes", "min_duration_s", "max_duration_s", "min_iterations"),
    *("max_warmup_s", "threads", "prompt_tokens", "new_tokens", "cpus", "quality", "data", "max_eval_tokens", "memory"),
    *("energy", "timeout_s", "lease_timeout_s"),
)


@click.group(short_help="Measure all models of the zoo for one table.")
def zoo() -> None:
    """Build and measure every model of the zoo that shares a parent, for one table and one figure.

    \b
    harness zoo run --target x86
    harness table zoo.toml
    harness figure pareto --session all --cost decode_latency_ns_p50 --marks family
    """


@zoo.command(cls=SectionedCommand)
@some_request_options(*_TAKEN)
@click.option("--parent", metavar="NAME", help="Which models: those made from this one. [default: baseline-6x384]")
@click.option("--family", "families", multiple=True, metavar="NAME", help="Only of this family; may be repeated.")
@click.option(
    "--model", "-m", "patterns", multiple=True, metavar="PATTERN", help="Only these, such as 'gptq*'; may be repeated."
)
@click.option(
    "--per-session",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Models of one session at most, next to the parent, which every session measures.",
)
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Go on with what a stopped run left: models keep the session that measured them from the same file, and what "
    "ended well there is not run again.",
)
@results_option
@click.option("--dry-run", is_flag=True, help="Say what would be built and run, and about how long it takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def run(
    parent: str | None,
    families: tuple[str, ...],
    patterns: tuple[str, ...],
    per_session: int,
    skip_existing: bool,
    results: Path,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Build and measure all models that share a parent, in sessions of comparable length.

    Every session has the parent as its baseline and is interleaved, so that each ratio is of one session. A model
    without weights is named and left out, and one that cannot be built or run does not end the others. The loss is of
    each file, over the whole validation text.

    \b
    harness zoo run --target x86 --dry-run
    harness zoo run --target x86 --cpus 1
    harness zoo run -t x86 --family 'low rank' --family sharing
    harness zoo run -t x86 -m 'gptq*' -m 'awq*' --per-session 4 --skip-existing
    """
    from harness.cli.zoo import running

    running.run(
        running.Asked(parent, families, patterns, per_session, skip_existing, results, options),
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
