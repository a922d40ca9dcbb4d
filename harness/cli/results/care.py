"""What the commands of `harness results` do and say."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.results.progress import progress
from harness.errors import NothingComparable
from harness.outside_files import write_whole
from harness.report.export import pyperf, pytorch
from harness.report.machine import dump_json
from harness.store import check as store
from harness.store import compact as compaction
from harness.store.check import Checked
from harness.store.compact import Compacted
from harness.store.dataset import read_tables
from harness.store.unfinished import Unfinished, delete_unfinished


def compact(results: Path, *, dry_run: bool, as_json: bool, quiet: bool) -> str:
    """Merge the files, or say what there is to merge."""
    with progress("compacting", quiet=quiet) as on_step:
        done = compaction.planned(results) if dry_run else compaction.compact(results, on_step)
    return _compacted_text(done, results, dry_run, as_json)


def check(results: Path, *, move: bool, as_json: bool, quiet: bool) -> tuple[str, bool]:
    """Read every file; what was found, and whether every row that counts can be read once. Raises NothingComparable."""
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
    bad = [finding for finding in checked.findings if not finding.harmless and finding.file.path not in moved]
    return _checked_text(checked, unfinished, results, moved, as_json), not bad


def export(output: Path, fmt: str, session: str, results: Path) -> Path:
    """Write measured figures for other programs; the file."""
    tables = read_tables(results, session)
    text = pyperf.suite_json(tables) if fmt == "pyperf" else pytorch.records_json(tables)
    write_whole(output, text, "Name another file.")
    for problem in tables.problems:
        click.echo(f"WARNING: {problem}", err=True)
    return output


def _compacted_text(done: Compacted, results: Path, dry_run: bool, as_json: bool) -> str:
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
