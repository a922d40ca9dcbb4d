"""The rows of a comparison: one metric for every model, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness.analysis.figures import (
    Figure,
    Versus,
    are_interleaved,
    figure,
    kind_of,
    places_of,
    plural,
    versus,
)
from harness.analysis.grouping import Model, Run, asked_resolution, at_own_rates, distinct, is_of
from harness.metrics import Metric
from harness.statistics.looks import CONFIDENCE_OF_A_LOOK
from harness.statistics.ratio import RATIO_CONFIDENCE
from harness.statistics.summary import CONFIDENCE
from harness.store.dataset import Tables


@dataclass(frozen=True)
class Row:
    """One metric: a figure a model, and for each a comparison with the baseline (None for the baseline
    itself).
    """

    metric: Metric
    figures: tuple[Figure, ...]
    versus: tuple[Versus | None, ...]

    @property
    def shown(self) -> bool:
        """Whether it is in a table for people; programs are given every row."""
        return not self.metric.where_known or any(figure.estimate is not None for figure in self.figures)


def rows_of(tables: Tables, runs: list[Run], models: list[Model], metrics: Sequence[Metric]) -> list[Row]:
    """One row for each of `metrics` that has a figure or an explained null; `models[0]` is the baseline.

    `tables` holds all attempts of `runs`, but samples only of those that succeeded. Intervals of runs that were added
    until these were narrow (`harness.statistics.looks`) allow for it.
    """
    by_id = {run["attempt_id"]: run for run in runs}
    of_model = [[run for run in runs if is_of(run, model)] for model in models]
    reasons = _reasons(tables.scalars)
    rows = []
    for metric in metrics:
        series = metric.per_process(tables)
        values = {str(attempt): float(value) for attempt, value in series.items() if math.isfinite(value)}
        used = [
            [run for run in model_runs if run["attempt_id"] in values and _counts(metric, run)]
            for model_runs in of_model
        ]
        explained = [_explain(metric, model_runs, reasons) for model_runs in of_model]
        for number, few in enumerate(_too_few(metric, tables, of_model)):
            if few is not None:
                used[number], explained[number] = [], few
        recorded_alone = metric.recorded is not None and metric.recorded.alone and _recorded(metric, runs)
        if not any(used) and not any(explained) and not recorded_alone:
            continue
        looked = any(asked_resolution(run) for model_runs in used for run in model_runs)
        confidences = [CONFIDENCE_OF_A_LOOK[usual] if looked else usual for usual in (CONFIDENCE, RATIO_CONFIDENCE)]
        figures = [
            _figure(metric, model_runs, with_value, values, why, confidences[0])
            for model_runs, with_value, why in zip(of_model, used, explained, strict=True)
        ]
        interleaved = are_interleaved([run for model_runs in used for run in model_runs])
        places = [places_of(by_id, [run["attempt_id"] for run in model_runs]) for model_runs in used]
        against = [
            versus(metric, figures[0], other, (places[0], where), interleaved, confidences[1])
            for other, where in zip(figures[1:], places[1:], strict=True)
        ]
        if metric.at_its_rate and at_own_rates(runs):
            why = (
                "each at its own highest rate of arrivals, and so no comparison at equal load: `--rate` gives them one"
            )
            against = [
                None if each is None else replace(each, reason=f"{each.reason}; {why}" if each.reason else why)
                for each in against
            ]
        rows.append(Row(metric, tuple(figures), (None, *against)))
    return rows


def _too_few(metric: Metric, tables: Tables, of_model: list[list[Run]]) -> list[str | None]:
    """Why a model has no figure for want of samples, though some of its processes may have one: those that have enough
    are the fast ones.
    """
    reasons = metric.too_few(tables) if metric.too_few else {}
    counted = [{run["attempt_id"] for run in model_runs if _counts(metric, run)} for model_runs in of_model]
    return [
        next((reason for attempt, reason in reasons.items() if attempt in model_runs), None) for model_runs in counted
    ]


def _counts(metric: Metric, run: Run) -> bool:
    """Whether a run's value belongs in the figure: a file is what it is in any run; all else needs the right
    pass, succeeded.
    """
    if metric.exactness == "file":
        return True
    if run["status"] != "ok" or (metric.is_time and run["latency_kind"] is None):
        return False
    return metric.any_pass or bool(run["measure"] == metric.measure)


def _figure(
    metric: Metric,
    runs: list[Run],
    used: list[Run],
    values: dict[str, float],
    reason: str | None,
    confidence: float,
) -> Figure:
    """The figure of one model, of whose `runs` those `used` have a value for the metric."""
    if used:
        measured = figure(metric, [values[run["attempt_id"]] for run in used], kind_of(metric, used), confidence)
        without = len([run for run in runs if _counts(metric, run)]) - len(used)
        return (
            replace(measured, reason=f"{plural(without, 'process')} without: {reason}")
            if without and reason
            else measured
        )
    if recorded := _recorded(metric, runs):
        return replace(figure(metric, recorded[:1], "recorded"), reason=reason or _failure(metric, runs))
    return Figure(None, reason=reason or _failure(metric, runs))


def _failure(metric: Metric, runs: list[Run]) -> str | None:
    """The message of the pass that yields the metric when it failed; that it was not made; None where it was and
    has no such value.
    """
    made = [run for run in runs if run["measure"] == metric.measure]
    if any(run["status"] == "ok" for run in made):
        if metric.is_time and not distinct(made, "latency_kind"):
            return "this target has no latency"
        if metric.measure == "quality" and any(run["reference_sha256"] == run["model_sha256"] for run in made):
            return "this model is the reference that the others deviate from"
        return "not measured"
    failed = [run for run in made or runs if run["status"] != "ok"]
    if not failed:
        return f"not measured: there was no {metric.measure} pass"
    last = failed[-1]
    return f"not measured: {last['error_message'] or last['error_kind'] or last['status']}"


def _explain(metric: Metric, runs: list[Run], reasons: dict[tuple[str, str], str]) -> str | None:
    """The reason that the worker or the harness stored for the null of this metric."""
    names = (metric.name, *metric.sources, *(("latency_ns",) if metric.is_time else ()))
    good = [run for run in runs if run["status"] == "ok"]
    return next(
        (
            reasons[run["attempt_id"], name]
            for run in reversed(good)
            for name in names
            if (run["attempt_id"], name) in reasons
        ),
        None,
    )


def _reasons(scalars: pd.DataFrame) -> dict[tuple[str, str], str]:
    explained = scalars[scalars["value"].isna() & scalars["reason"].notna()]
    return {
        (str(attempt), str(name)): str(reason)
        for attempt, name, reason in zip(explained["attempt_id"], explained["name"], explained["reason"], strict=True)
    }


def _recorded(metric: Metric, runs: list[Run]) -> list[float]:
    """What the manifests of these runs say of the metric."""
    values = [metric.recorded.value(run) for run in runs] if metric.recorded else []
    return [value for value in values if value is not None]
