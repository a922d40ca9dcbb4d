"""`harness results`: look after a store of results: merge its files, check them, export them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli._options import results_option

if TYPE_CHECKING:
    from harness.store.check import Checked
    from harness.store.compact import Compacted
    from harness.store.unfinished import Unfinished

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
    from harness.cli._results_progress import progress
    from harness.store.compact import compact as merge
    from harness.store.compact import planned

    with progress("compacting", quiet=quiet) as on_step:
        done = planned(results) if dry_run else merge(results, on_step)
    click.echo(_compacted_text(done, results, dry_run, as_json), nl=False)


@results.command()
@results_option
@click.option("--quarantine", "move", is_flag=True, help="Move damaged files to `quarantine/`, with the reason.")
@_json
@_quiet
@click.pass_context
def check(ctx: click.Context, results: Path, move: bool, as_json: bool, quiet: bool) -> None:
    """Read every file, and say what is damaged, doubled or of another version, and where clocks went backwards.

    Exit code 1 where a row that counts cannot be read, or is read twice; what is harmless is only said. Files that
    killed processes had not finished are deleted: no row was in them that counts.

    \b
    harness results check --quarantine
    """
    from harness.cli._results_progress import progress
    from harness.errors import NothingComparable
    from harness.store import check as store
    from harness.store.unfinished import delete_unfinished

    unfinished = delete_unfinished(results)
    with progress("checking", quiet=quiet) as on_step:
        checked = store.check(results, on_step)
    if not checked.files:
        raise NothingComparable(f"There are no results in {results}.", "Name the folder with --results.")
    moved = {
        finding.file.path: store.quarantine(results, finding)
        for finding in checked.findings
        if move and finding.kind == "damaged"
    }
    click.echo(_checked_text(checked, unfinished, results, moved, as_json), nl=False)
    bad = [finding for finding in checked.findings if not finding.harmless and finding.file.path not in moved]
    ctx.exit(1 if bad else 0)


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
    from harness.outside_files import write_whole
    from harness.report.export import pyperf as _results_pyperf
    from harness.report.export import pytorch as _results_pytorch
    from harness.store.dataset import read_tables

    tables = read_tables(results, session)
    text = _results_pyperf.suite_json(tables) if fmt == "pyperf" else _results_pytorch.records_json(tables)
    write_whole(output, text, "Name another file.")
    for problem in tables.problems:
        click.echo(f"WARNING: {problem}", err=True)
    click.echo(output)


def _compacted_text(done: Compacted, results: Path, dry_run: bool, as_json: bool) -> str:
    from harness.report.machine import dump_json

    if as_json:
        facts = {
            "results": str(results),
            "dry_run": dry_run,
            "files_before": done.files_before,
            "files_after": done.files_after,
            "bytes_before": done.bytes_before,
            "bytes_after": done.bytes_after,
            "left": [{"file": damage.file.path, "reason": str(damage.error)} for damage in done.left],
        }
        return dump_json("compaction", facts)
    lines = [f"left as it is: {damage.error}" for damage in done.left]
    if not done.files_before:
        return "\n".join([f"Nothing to compact in {results}.", *lines, ""])
    size = f"{done.bytes_before / 1e6:.1f} MB"
    if done.bytes_after is not None:
        size += f" became {done.bytes_after / 1e6:.1f} MB"
    verb = "would become" if dry_run else "became"
    return "\n".join([f"{done.files_before} files {verb} {done.files_after}, {size}, in {results}.", *lines, ""])


def _checked_text(checked: Checked, unfinished: Unfinished, results: Path, moved: dict[str, str], as_json: bool) -> str:
    from harness.report.machine import dump_json

    if as_json:
        facts = {
            "results": str(results),
            "files": checked.files,
            "attempts": checked.attempts,
            "findings": [
                {
                    "kind": finding.kind,
                    "harmless": finding.harmless,
                    "table": finding.table,
                    "file": finding.file.path,
                    "what": finding.what,
                    "quarantined_to": moved.get(finding.file.path),
                }
                for finding in checked.findings
            ],
            "unfinished": {key: list(map(str, value)) for key, value in vars(unfinished).items()},
        }
        return dump_json("check", facts)
    lines = [f"deleted: {file}, which a process that was killed had not finished." for file in unfinished.deleted]
    lines += [
        f"harmless, unfinished: {file} is being written, or was left on another machine; it goes when it is a day old."
        for file in unfinished.left
    ]
    for finding in checked.findings:
        mark = "harmless, " if finding.harmless else ""
        lines.append(f"{mark}{finding.kind}: {finding.what}")
        if finding.file.path in moved:
            lines.append(f"  moved to {moved[finding.file.path]}")
    bad = sum(not finding.harmless for finding in checked.findings)
    lines.append(
        f"{checked.files} files, {checked.attempts} attempts: "
        f"{bad or 'no'} problem{'' if bad == 1 else 's'} in {results}."
    )
    return "\n".join([*lines, ""])
