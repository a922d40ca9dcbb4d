"""What a bisection found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict

from harness.metrics import Metric
from harness.nightly.bisection import Bisection, Candidate, Step
from harness.nightly.verdict import words
from harness.report.machine import dump_json
from harness.report.rendering import render_tables
from harness.report.table import simple_table


def bisection_text(good: Candidate, last: Candidate, bisection: Bisection, metric: Metric | None, as_json: bool) -> str:
    """A row for each version that was measured, and the answer below. `metric` is None where nothing was measured that
    decides by one.
    """
    answer = _answer(good, last, bisection, metric.label if metric else "latency")
    if as_json:
        return dump_json(
            "bisection",
            {"metric": metric.name if metric else None, "good": asdict(good), "answer": answer, **asdict(bisection)},
        )
    if not bisection.steps:
        return f"{answer}\n"
    rows = [
        (
            step.candidate.label,
            step.candidate.words,
            step.candidate.sha256[:12],
            words(step.verdict),
            _outcome(step),
        )
        for step in bisection.steps
    ]
    against = f"against {good.label}"
    columns = ("version", "", "file", f"{metric.label}, {against}" if metric else against, "")
    title = f"Against {good.label}" + (f": {metric.label}" if metric else "")
    return render_tables([simple_table(title, columns, rows, (answer,))], "terminal")


def _answer(good: Candidate, last: Candidate, bisection: Bisection, label: str) -> str:
    if last.sha256 == good.sha256:
        return f"{last.label} has the very file of {good.label}: nothing was measured."
    if bisection.first is not None:
        unsure = f"; {len(bisection.unsure)} before it could not be measured or decided" if bisection.unsure else ""
        subject = f" ({bisection.first.words})" if bisection.first.words else ""
        return f"The first that is worse in {label}: {bisection.first.label}{subject}{unsure}."
    if bisection.steps[-1].verdict.decision == "undecided":
        pairs = bisection.steps[-1].verdict.processes
        return (
            f"Whether {last.label} is worse than {good.label} in {label} is undecided after {pairs} pairs of "
            f"processes: measure more with `-- --processes {4 * pairs}`."
        )
    if bisection.steps[-1].slower is None:
        return f"{last.label} could not be measured: {bisection.steps[-1].verdict.reason}"
    return f"{last.label} is not worse than {good.label} in {label}."


def _outcome(step: Step) -> str:
    if step.verdict.decision is None:
        return "not measured"
    return {"regression": "slower", "no regression": "not slower", "undecided": "undecided"}[step.verdict.decision]
