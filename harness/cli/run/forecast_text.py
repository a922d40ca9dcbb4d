"""What a run would do, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from harness.analysis.figures import plural
from harness.analysis.numbers import percent
from harness.conditions.fields import tell_apart
from harness.experiment.forecast import Expected, Forecast
from harness.report.machine import dump_json
from harness.statistics.looks import MOST_BLOCKS


def forecast_text(forecast: Forecast) -> str:
    """Lines for a person."""
    lines = [f"{forecast.target} · {forecast.device}: nothing is measured, this is what would be run."]
    lines += _condition_lines(forecast.expected)
    counted = ", ".join(f"{len(jobs)} for {measure}" for measure, jobs in forecast.by_pass.items())
    lines.append(f"Processes, one after the other: {counted}.")
    added = (
        " Blocks that are added come on top."
        if any(expectation.asked is not None for expectation in forecast.expected)
        else ""
    )
    lines.append(_lasts(forecast) + added)
    return "\n".join(lines) + "\n"


def forecast_json(forecast: Forecast) -> str:
    """The same for programs."""
    return dump_json(
        "plan",
        {
            "target": forecast.target,
            "device": forecast.device,
            "passes": [
                {"measure": measure, "processes": len(jobs), "models": list(dict.fromkeys(j.model for j in jobs))}
                for measure, jobs in forecast.by_pass.items()
            ],
            "conditions": [asdict(expected) for expected in forecast.expected],
            "measuring_s_at_least": forecast.measuring_s_at_least,
            "starting_s": forecast.starting_s,
            "estimated_s": forecast.estimated_s,
        },
    )


def _condition_lines(expected: Sequence[Expected]) -> list[str]:
    lines = []
    for expectation, words in zip(expected, tell_apart([each.condition for each in expected]), strict=True):
        first, *others = expectation.models
        against = f"{first}{' (baseline)' if others else ''}" + "".join(f", {name}" for name in others)
        order = "interleaved " if others and expectation.processes > 1 else ""
        lines.append(
            f"{', '.join((expectation.condition.scenario, *words))}: {against}; "
            f"{plural(expectation.processes, order + 'process')}{' per model' if others else ''} for latency"
        )
        if expectation.shows is None:
            lines.append(f"  What difference would show is not known: {expectation.reason}.")
            continue
        lines.append(
            f"  Differences below about {percent(expectation.shows)} would not show, going by "
            f"{plural(expectation.earlier_processes, 'earlier process')} of these models (99 % interval)."
        )
        if expectation.asked is not None:
            needed = f"about {expectation.blocks}" if expectation.blocks is not None else f"more than {MOST_BLOCKS}"
            most = "" if expectation.blocks is not None else f", and {MOST_BLOCKS} are the most"
            lines.append(f"  To resolve {percent(expectation.asked)}, {needed} processes a model are needed{most}.")
    return lines


def _lasts(forecast: Forecast) -> str:
    if forecast.estimated_s is not None:
        return f"Estimated time: {_time(forecast.estimated_s)}, as long as such processes took before."
    starting_s = forecast.starting_s * len(forecast.jobs)
    return (
        f"Estimated time: more than {_time(forecast.measuring_s_at_least + starting_s)}: "
        f"{_time(forecast.measuring_s_at_least)} of measuring at least, by --min-duration, and about "
        f"{_time(starting_s)} to start {plural(len(forecast.jobs), 'process')}; warming up and other passes "
        "come on top."
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
