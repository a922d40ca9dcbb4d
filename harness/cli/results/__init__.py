"""`harness results`: look after a store of results: merge its files, check them, export them."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli._options import results_option

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_quiet = click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")


@click.group(short_help="Compact, check and export stored results.")
def results() -> None:
    """Look after a store of results: merge its many small files, check every one, export it.

    \b
    harness results compact
    harness results check
    harness results export --format pytorch-v3 records.json
    """


@results.command()
@results_option
@click.option("--dry-run", is_flag=True, help="Only say what there is to merge.")
@_json
@_quiet
def compact(results: Path, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Merge the files of each table, date and target into one, so that years are read in a second.

    It may be killed at any moment, and others may read and write meanwhile: no row is lost or counted twice.

    \b
    harness results compact --dry-run
    """
    from harness.cli.results import care

    click.echo(care.compact(results, dry_run=dry_run, as_json=as_json, quiet=quiet), nl=False)


@results.command()
@results_option
@click.option("--quarantine", "move", is_flag=True, help="Move damaged files to `quarantine/`, with the reason.")
@_json
@_quiet
@click.pass_context
def check(ctx: click.Context, results: Path, move: bool, as_json: bool, quiet: bool) -> None:
    """Read every file, and say what is damaged, doubled or of another version, and where clocks went backwards.

    Exit code 1 where a row that counts cannot be read, or is read twice; what is harmless is only reported. Files that
    killed processes had not finished are deleted: no row was in them that counts.

    \b
    harness results check --quarantine
    """
    from harness.cli.results import care

    text, sound = care.check(results, move=move, as_json=as_json, quiet=quiet)
    click.echo(text, nl=False)
    ctx.exit(0 if sound else 1)


@results.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "fmt",
    type=click.Choice(("pyperf", "pytorch-v3")),
    required=True,
    help="JSON of pyperf, or records of PyTorch's benchmark database (oss_ci_benchmark_v3).",
)
@click.option("--session", default="latest", show_default=True, metavar="ID|latest|all", help="Which session.")
@results_option
def export(output: Path, fmt: str, session: str, results: Path) -> None:
    """Write measured figures to OUTPUT for other programs.

    pyperf takes durations: one benchmark a model, condition and phase, a run a process. PyTorch's records have every
    metric. Estimated and emulated figures say so in both.

    \b
    harness results export --format pyperf mine.json && python -m pyperf compare_to theirs.json mine.json
    """
    from harness.cli.results import care

    click.echo(care.export(output, fmt, session, results))
