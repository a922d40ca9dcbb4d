"""What `harness bisect` does: versions of a file, each measured together with the good one."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from harness.api.zoo import Zoo
from harness.cli._progress import Reporter
from harness.cli.run import run as run_command
from harness.cli.run.options import given_values
from harness.errors import HarnessError, UsageError
from harness.experiment.request import NamedModel, RunRequest
from harness.experiment.run import run as run_request
from harness.metrics import CATALOGUE, HEADLINES, Metric
from harness.nightly import bisection
from harness.nightly.artifacts import keep, kept_file
from harness.nightly.bisection import Bisection, Candidate, Step
from harness.nightly.history import Revision, commit_of, content, revisions
from harness.nightly.requests import measured, passes_for
from harness.nightly.verdict import Verdict, settle, words
from harness.report.machine import dump_json
from harness.report.rendering import render_tables
from harness.report.table import simple_table
from harness.scratch import ScratchFolder
from harness.statistics.rerun_looks import NEW_PAIRS
from harness.store.writer import prepare


def request_of(target: str, run_options: Sequence[str]) -> RunRequest:
    """The request that options of `harness run` make; its models come later. Raises UsageError in the words of
    `harness run`.
    """
    try:
        context = run_command.make_context("harness run", list(run_options))
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        raise UsageError(f"`harness run` would refuse these options: {message}.", "Correct them.") from error
    try:
        return RunRequest(**{**given_values(context.params), "target": target, "models": ("later",)})
    except UsageError as error:
        raise UsageError(f"`harness run` would refuse these options: {error.message}", error.hint) from error


def bisect(
    versions: tuple[str, str],
    request: RunRequest,
    *,
    file: str | None,
    repository: Path,
    metric_name: str | None,
    min_change: float,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search between the good and the bad one of `versions`, and print what was found."""
    metrics = _metrics(metric_name)
    new_pairs = NEW_PAIRS if request.processes is None else (request.processes,)
    prepare(results)
    good, later = _candidates(*versions, file, repository, results)
    with Reporter(quiet=quiet) as reporter:
        run = functools.partial(run_request, source=Zoo(), progress=reporter)

        def measure(candidate: Candidate) -> Verdict:
            nonlocal metrics
            names = (f"{good.label} (good)", candidate.label)
            models = tuple(
                NamedModel(str(kept_file(results, version.sha256)), name)
                for version, name in zip((good, candidate), names, strict=True)
            )

            def look(number: int, pairs: int) -> str:
                again = " again" if number else ""
                reporter.note(f"measuring {candidate.label} against {good.label}{again}, {pairs} processes each")
                passes = passes_for(metrics[0].measure)
                done = measured(run, request.with_options(models=models, processes=pairs, **passes), results)
                if done.session_id is None or done.failed:
                    raise HarnessError(done.reason or "There is no session.")
                return done.session_id

            verdict = settle(results, look, metrics, names, min_change, new_pairs=new_pairs)
            if verdict.processes:  # what the first session has decides for all, with an interval or without
                metrics = [metric for metric in metrics if metric.name == verdict.metric]
            return verdict

        found = bisection.bisect(good, later, measure)
    click.echo(_text(good, later[-1], found, metrics[0], as_json), nl=False)


def _metrics(name: str | None) -> list[Metric]:

    known = {metric.name: metric for metric in CATALOGUE if metric.compare == "ratio"}
    if name is not None and name not in known:
        raise UsageError(f"The metric {name!r} has no ratio to decide by.", f"Choose among: {', '.join(known)}.")
    return [known[name]] if name else list(HEADLINES)  # the first that the session has decides


def _candidates(
    good: str, bad: str, file: str | None, repository: Path, results: Path
) -> tuple[Candidate, list[Candidate]]:
    """The good version and those after it, their files kept by hash. Raises UsageError, ModelError, StoreError."""

    if file is None:
        if missing := next((name for name in (good, bad) if not os.path.isfile(name)), None):
            raise UsageError(f"There is no file {missing}.", "Give two files, or two commits and --file.")
        one, other = (Candidate(name, "", keep(results, Path(name))) for name in (good, bad))
        return one, [other]

    def candidate(revision: Revision) -> Candidate | None:
        data = content(repository, revision, file)
        if data is None:
            return None
        with ScratchFolder() as scratch:
            path = Path(scratch) / Path(file).name
            path.write_bytes(data)
            return Candidate(revision.commit[:12], revision.subject, keep(results, path))

    start, end = (commit_of(repository, name) for name in (good, bad))
    first = candidate(start)
    later = [candidate(revision) for revision in revisions(repository, start, end, file)]
    if first is None or later[-1] is None:
        lacking = start if first is None else end
        raise UsageError(f"{lacking.commit[:12]} has no file {file}.", "Give its path from the top of the repository.")
    return first, [version for version in later if version is not None]


def _text(good: Candidate, last: Candidate, found: Bisection, metric: Metric, as_json: bool) -> str:
    answer = _answer(good, last, found, metric)
    if as_json:
        return dump_json("bisection", {"metric": metric.name, "good": asdict(good), "answer": answer, **asdict(found)})
    rows = [
        (
            step.candidate.label,
            step.candidate.words,
            step.candidate.sha256[:12],
            words(step.verdict),
            _outcome(step),
        )
        for step in found.steps
    ]
    columns = ("version", "", "file", f"{metric.label}, against {good.label}", "")
    return render_tables([simple_table(f"Against {good.label}: {metric.label}", columns, rows, (answer,))], "terminal")


def _answer(good: Candidate, last: Candidate, found: Bisection, metric: Metric) -> str:
    if last.sha256 == good.sha256:
        return f"{last.label} has the very file of {good.label}: nothing was measured."
    if found.first is not None:
        unsure = f"; {len(found.unsure)} before it could not be measured or decided" if found.unsure else ""
        subject = f" ({found.first.words})" if found.first.words else ""
        return f"The first that is worse in {metric.label}: {found.first.label}{subject}{unsure}."
    if found.steps[-1].verdict.decision == "undecided":
        pairs = found.steps[-1].verdict.processes
        return (
            f"Whether {last.label} is worse than {good.label} in {metric.label} is undecided after {pairs} pairs of "
            f"processes: measure more with `-- --processes {4 * pairs}`."
        )
    if found.steps[-1].slower is None:
        return f"{last.label} could not be measured: {found.steps[-1].verdict.reason}"
    return f"{last.label} is not worse than {good.label} in {metric.label}."


def _outcome(step: Step) -> str:
    if step.verdict.decision is None:
        return "not measured"
    return {"regression": "slower", "no regression": "not slower", "undecided": "undecided"}[step.verdict.decision]
