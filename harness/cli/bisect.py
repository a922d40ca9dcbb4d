"""`harness bisect`: the first commit whose model is slower than that of a good one, by interleaved runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli._options import results_option

if TYPE_CHECKING:
    from harness.metrics import Metric
    from harness.nightly.bisection import Bisection, Candidate, Step
    from harness.nightly.verdict import Verdict


@click.command(short_help="Find the commit that made a model slower.")
@click.argument("good")
@click.argument("bad")
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS OF HARNESS RUN]")
@click.option("--target", "-t", required=True, help="Where to measure; `harness targets` lists them.")
@click.option("--file", metavar="PATH", help="The model file inside the repository.")
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The git repository. [default: that of this folder]",
)
@click.option("--metric", "metric_name", metavar="NAME", help="What must not be worse. [default: median latency]")
@click.option(
    "--min-change",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.03,
    show_default=True,
    help="Worse by so large a share, at least.",
)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def bisect(
    good: str,
    bad: str,
    run_options: tuple[str, ...],
    target: str,
    file: str | None,
    repository: Path,
    metric_name: str | None,
    min_change: float,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the first version after GOOD, up to BAD, that is slower than GOOD beyond what noise does.

    GOOD and BAD are commits of a repository that has the model as --file, or two model files. Every version that is
    tried is measured together with GOOD's, ten interleaved processes each, and where these do not decide twenty and
    forty more (`--processes` says another number, and is not repeated); equal files are measured once.

    \b
    harness bisect v1.0 main --file models/selfcomp.pte -t x86
    harness bisect v1.0 main --file models/selfcomp.pte -t x86 -- --threads 2 --processes 20
    harness bisect yesterday.pte today.pte -t x86
    """
    from harness.cli._progress import Reporter
    from harness.cli.nightly.subprocess_run import check_options, pair_arguments, processes_in, run_session
    from harness.errors import HarnessError
    from harness.nightly import bisection
    from harness.nightly.artifacts import kept_file
    from harness.nightly.verdict import settle
    from harness.statistics.rerun_looks import NEW_PAIRS
    from harness.store.writer import prepare

    metrics = _metrics(metric_name)
    check_options(run_options, target)
    asked = processes_in(run_options, target)
    new_pairs = NEW_PAIRS if asked is None else (asked,)
    prepare(results)
    first, later = _candidates(good, bad, file, repository, results)
    reporter = Reporter(quiet=quiet)

    def measure(candidate: Candidate) -> Verdict:
        nonlocal metrics
        good, bad = (kept_file(results, one.sha256) for one in (first, candidate))

        def look(number: int, pairs: int) -> str:
            again = " again" if number else ""
            reporter.note(f"measuring {candidate.label} against {first.label}{again}, {pairs} processes each")
            done = run_session(
                pair_arguments(target, results, good, bad, metrics[0], run_options, pairs), reporter.note
            )
            if done.session_id is None or done.failed:
                raise HarnessError(done.reason or "There is no session.")
            return done.session_id

        verdict = settle(results, look, metrics, (good.stem, bad.stem), min_change, new_pairs=new_pairs)
        if verdict.processes:  # what the first session has decides for all, with an interval or without
            metrics = [metric for metric in metrics if metric.name == verdict.metric]
        return verdict

    found = bisection.bisect(first, later, measure)
    click.echo(_text(first, later[-1], found, metrics[0], as_json), nl=False)


def _metrics(name: str | None) -> list[Metric]:
    from harness.errors import UsageError
    from harness.metrics import CATALOGUE, HEADLINES

    known = {metric.name: metric for metric in CATALOGUE if metric.compare == "ratio"}
    if name is not None and name not in known:
        raise UsageError(f"The metric {name!r} has no ratio to decide by.", f"Choose among: {', '.join(known)}.")
    return [known[name]] if name else list(HEADLINES)  # the first that the session has decides


def _candidates(
    good: str, bad: str, file: str | None, repository: Path, results: Path
) -> tuple[Candidate, list[Candidate]]:
    """The good version and those after it, their files kept by hash. Raises UsageError, ModelError, StoreError."""
    from harness.errors import UsageError
    from harness.nightly.artifacts import keep
    from harness.nightly.bisection import Candidate
    from harness.nightly.history import Revision, commit_of, content, revisions
    from harness.scratch import ScratchFolder

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
    from dataclasses import asdict

    from harness.nightly.verdict import words
    from harness.report.machine import dump_json
    from harness.report.rendering import render_tables
    from harness.report.table import simple_table

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
