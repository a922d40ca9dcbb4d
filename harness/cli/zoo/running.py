"""What `harness zoo run` does and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from harness.analysis.figures import plural
from harness.api import zoo_run
from harness.api.zoo_run import Expected, Shard
from harness.api.zoo_selection import Selection, select
from harness.cli._progress import Reporter
from harness.cli.run.options import given_values
from harness.durations import in_words
from harness.errors import Interrupted, ModelError, UsageError
from harness.experiment.progress import Progress
from harness.experiment.request import NamedModel, RunRequest
from harness.experiment.run import Outcome, available_target
from harness.models.zoo.recipes import packaged
from harness.report.machine import dump_json


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    parent: str | None
    families: tuple[str, ...]
    patterns: tuple[str, ...]
    per_session: int
    skip_existing: bool
    results: Path
    options: Mapping[str, Any]


def run(asked: Asked, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Build, measure and print, or say what would be done. Exits with 1 where a model or job failed."""
    options = given_values(asked.options)
    if "target" not in options:
        raise UsageError("Missing option --target.", "`harness zoo run --help` shows an example.")
    selection = select(packaged(), asked.parent, asked.families, asked.patterns)
    if not selection.buildable:
        why = "; ".join(f"{name}: {reason}" for name, reason in _reasons(selection).items())
        raise UsageError(f"No model of this selection can be built ({why}).", "Choose others, or train these first.")
    if dry_run:
        expected = zoo_run.expect(
            selection.parent, selection, asked.per_session, asked.results, options, resume=asked.skip_existing
        )
        click.echo(_expected_json(selection, expected) if as_json else _expected_text(selection, expected), nl=False)
        return
    target = available_target(RunRequest(models=(NamedModel(selection.parent),), **options))
    reporter = Reporter(quiet=quiet)
    for choice in selection.models:
        if choice.lacks is not None:
            reporter.note(f"{choice.name} is left out: {choice.lacks}")
    made = zoo_run.build([selection.parent, *selection.buildable], target, reporter.note)
    if selection.parent in made.failed:
        raise ModelError(f"{selection.parent}, the parent, cannot be built: {made.failed[selection.parent]}")
    names = [name for name in selection.buildable if name in made.files]
    results = asked.results if asked.skip_existing else None
    planned = zoo_run.plan(selection.parent, names, made.files, asked.per_session, results, target)
    ended: list[tuple[Shard, Outcome]] = []
    with ExitStack() as shown:

        def begin(shard: Shard, number: int) -> Progress:
            shown.close()
            own = shown.enter_context(Reporter(quiet=quiet))
            own.note(f"session {number} of {len(planned)}: {selection.parent} (baseline), {', '.join(shard.models)}")
            return own

        try:
            for shard, outcome in zoo_run.run(selection.parent, planned, made.files, asked.results, options, begin):
                ended.append((shard, outcome))
        except Interrupted as stopped:
            again = "The same command with --skip-existing goes on from there."
            raise Interrupted(stopped.message, f"{stopped.hint} {again}".strip()) from stopped
    click.echo(_json(selection, made.failed, ended) if as_json else _text(selection, made.failed, ended), nl=False)
    if made.failed or any(outcome.failures for _, outcome in ended):
        raise click.exceptions.Exit(1)


def _text(selection: Selection, failed: Mapping[str, str], ended: Sequence[tuple[Shard, Outcome]]) -> str:
    lines = [
        f"session {outcome.session_id}: {selection.parent} (baseline), {', '.join(shard.models)}; "
        f"{plural(outcome.succeeded, 'job')} ended well, {len(outcome.failures)} failed"
        for shard, outcome in ended
    ]
    lines += [f"failed, {failure}" for _, outcome in ended for failure in outcome.failures]
    lines += [f"not built, {name}: {why}" for name, why in failed.items()]
    lines += _left_out(selection)
    sessions = " ".join(f"--session {outcome.session_id}" for _, outcome in ended)
    if sessions:
        lines.append(f"The table: harness table zoo.toml {sessions}")
    return "\n".join(lines) + "\n"


def _json(selection: Selection, failed: Mapping[str, str], ended: Sequence[tuple[Shard, Outcome]]) -> str:
    sessions = [
        {
            "session_id": outcome.session_id,
            "models": shard.models,
            "resumed": shard.session_id is not None,
            "succeeded": outcome.succeeded,
            "failures": [asdict(failure) for failure in outcome.failures],
            "skipped": outcome.skipped,
        }
        for shard, outcome in ended
    ]
    data = {"parent": selection.parent, "sessions": sessions, "not_built": dict(failed)}
    return dump_json("zoo", data | {"left_out": _reasons(selection)})


def _expected_text(selection: Selection, expected: Expected) -> str:
    lines = ["Nothing is built or measured, this is what would be done."]
    if expected.to_build:
        lines.append(f"To build, {len(expected.to_build)}: {', '.join(expected.to_build)}.")
    for number, shard in enumerate(expected.shards, 1):
        how = "" if shard.session_id is None else f", which goes on with {shard.session_id}"
        lines.append(
            f"Session {number} of {len(expected.shards)}{how}: "
            f"{selection.parent} (baseline), {', '.join(shard.models)}."
        )
    lines += _left_out(selection)
    lines.append(f"Processes, one after the other: {expected.processes}, fewer where a session goes on.")
    if expected.estimated_s is not None:
        lines.append(f"Estimated time: {in_words(expected.estimated_s)}, as long as such processes took before.")
    else:
        least = in_words(expected.measuring_s_at_least)
        lines.append(f"Time: not known before a first run; {least} of measuring at least, by --min-duration.")
    return "\n".join(lines) + "\n"


def _expected_json(selection: Selection, expected: Expected) -> str:
    families = {choice.name: choice.family for choice in selection.models}
    data = {"parent": selection.parent, "families": families, **asdict(expected), "left_out": _reasons(selection)}
    return dump_json("zoo", data)


def _left_out(selection: Selection) -> list[str]:
    return [f"left out, {name}: {why}" for name, why in _reasons(selection).items()]


def _reasons(selection: Selection) -> dict[str, str]:
    return {choice.name: choice.lacks for choice in selection.models if choice.lacks is not None}
