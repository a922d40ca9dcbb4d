"""What a bisection found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict

from harness.metrics import Metric
from harness.nightly.bisection import Bisection, Candidate, Step
from harness.nightly.verdict import words
from harness.report.machine import dump_json
from harness.report.rendering import render_tables
from harness.report.table import simple_table


def bisection_text(good: Candidate, last: Candidate, found: Bisection, metric: Metric, as_json: bool) -> str:
    """A row for each version that was measured, and the answer below."""
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
