"""What `harness bisect` does: versions of a file, each measured together with the good one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import click

from harness.api.zoo import Zoo
from harness.cli._progress import Reporter
from harness.cli.bisection_text import bisection_text
from harness.cli.run import run as run_command
from harness.cli.run.options import given_values
from harness.errors import HarnessError, UsageError
from harness.experiment.request import NamedModel, RunRequest
from harness.experiment.run import run as run_request
from harness.metrics import CATALOGUE, HEADLINES, Metric
from harness.nightly import bisection
from harness.nightly.artifacts import kept_file
from harness.nightly.bisection import Candidate, GoodVersionError
from harness.nightly.candidates import candidates
from harness.nightly.requests import measured, passes_for
from harness.nightly.verdict import Verdict, settle
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
    """Search between the good and the bad one of `versions`, and print the answer. Exits with 1 where the bad one could
    not be measured.
    """
    if not 0 < min_change <= 1:
        raise UsageError(f"--min-change is {min_change:g}, not above 0 and at most 1.", "Write 0.03 for 3 %.")
    metrics = _metrics(metric_name)
    new_pairs = NEW_PAIRS if request.processes is None else (request.processes,)
    prepare(results)
    good, later = candidates(*versions, file, repository, results)
    with Reporter(quiet=quiet) as reporter:
        run = functools.partial(run_request, source=Zoo(), progress=reporter)

        def measure(candidate: Candidate) -> Verdict:
            nonlocal metrics
            names = (f"{good.label} (good)", candidate.label)
            files = [str(kept_file(results, version.sha256)) for version in (good, candidate)]
            models = tuple(map(NamedModel, files, names))

            def look(number: int, pairs: int) -> str:
                again = " again" if number else ""
                reporter.note(f"measuring {candidate.label} against {good.label}{again}, {pairs} processes each")
                passes = passes_for(metrics[0].measure)
                done = measured(run, request.with_options(models=models, processes=pairs, **passes), results)
                for version, file, name in zip((good, candidate), files, names, strict=True):
                    if (failure := done.failures.get(name)) is not None:
                        message = failure.message.replace(file, version.label)
                        if version is good:
                            what = f"{good.label}, the good version, cannot be measured: {message}"
                            raise GoodVersionError(what, failure.hint)
                        raise HarnessError(message, failure.hint)
                if done.session_id is None or done.failed:
                    raise HarnessError(done.reason or "There is no session.")
                return done.session_id

            verdict = settle(results, look, metrics, names, min_change, new_pairs=new_pairs)
            if verdict.processes:  # what the first session has decides for all, with an interval or without
                metrics = [metric for metric in metrics if metric.name == verdict.metric]
            return verdict

        outcome = bisection.bisect(good, later, measure)
    metric = metrics[0] if len(metrics) == 1 else None
    click.echo(bisection_text(good, later[-1], outcome, metric, as_json), nl=False)
    if outcome.bad_unmeasured:
        raise click.exceptions.Exit(1)


def _metrics(name: str | None) -> list[Metric]:
    known = {metric.name: metric for metric in CATALOGUE if metric.compare == "ratio"}
    if name is not None and name not in known:
        raise UsageError(f"The metric {name!r} has no ratio to decide by.", f"Choose among: {', '.join(known)}.")
    return [known[name]] if name else list(HEADLINES)  # the first that the session has decides
