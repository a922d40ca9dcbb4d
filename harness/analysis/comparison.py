"""Models side by side under one condition: every metric of each with its interval, and each against the
baseline.

Pure: the tables of the store in, comparisons out, the same for the same rows. Only attempts that succeeded
give figures; whatever has none says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis.figures import are_interleaved
from harness.analysis.grouping import (
    RUNTIME,
    Model,
    Run,
    check_comparable,
    choose,
    distinct,
    group,
    is_of,
    measured_name,
    models_of,
    run_records,
    settings_by_model,
)
from harness.analysis.notes import (
    FlagCount,
    count_flags,
    how_sure_accuracies_are,
    notes_on,
    warn_of_other_outputs,
    warn_of_unlike_outputs,
)
from harness.analysis.resolution import Resolution, foot, resolution_of
from harness.analysis.rows import Row, rows_of
from harness.analysis.verdict import verdict
from harness.conditions.fields import Condition, without_data
from harness.errors import NothingComparable, UsageError
from harness.metrics import CATALOGUE, HEADLINES, Metric
from harness.store.dataset import Tables


@dataclass(frozen=True)
class Comparison:
    """One table. `models[0]` is the baseline. `processes` are the latency processes that succeeded, a number for each
    model.

    `counted` says that they have no latency, only counts of instructions. `fingerprint` holds the conditions under
    which they ran, `settings` what the runtime of each model ran with, by the label of the model; `resolution` is what
    difference they could have shown; `notes` are sentences for the reader; `verdict` has one for each model but the
    baseline, by its label, that says what the comparison comes to.
    """

    condition: Condition
    models: tuple[Model, ...]
    rows: tuple[Row, ...]
    processes: tuple[int, ...]
    interleaved: bool
    latency_kinds: tuple[str, ...]
    counted: bool
    sessions: tuple[str, ...]
    dates: tuple[str, ...]
    harness: tuple[str, ...]
    fingerprint: dict[str, Any]
    settings: dict[str, dict[str, str]]
    flags: tuple[FlagCount, ...]
    resolution: Resolution | None
    notes: tuple[str, ...]
    verdict: dict[str, str]

    @property
    def short(self) -> Comparison:
        """The same with its main metrics alone."""
        present = {row.metric.name for row in self.rows if any(figure.estimate for figure in row.figures)}
        headline = next((metric.name for metric in HEADLINES if metric.name in present), None)
        return replace(self, rows=tuple(row for row in self.rows if row.metric.short or row.metric.name == headline))

    @property
    def not_shown(self) -> tuple[str, ...]:
        """What a table of all rows leaves out since no model has a figure, and what gives one: a sentence, or none."""
        hidden = [row for row in self.rows if not row.shown]
        reasons = [
            (row.metric.label, next((figure.reason for figure in row.figures if figure.reason), None)) for row in hidden
        ]
        parts = [f"{label} ({reason})" for label, reason in reasons if reason is not None]
        return (f"Not shown: {'; '.join(parts)}.",) if parts else ()


def compare_tables(
    tables: Tables,
    *,
    models: Sequence[str] = (),
    baseline: str | None = None,
    every_metric: bool = False,
    allow_different: bool = False,
) -> tuple[Comparison, ...]:
    """One comparison a condition, in the order in which the conditions were first measured.

    `models` keeps only those named (all for none), `baseline` names the one the others are set against (the
    first for None). Raises UsageError for a name that was not measured, and NothingComparable when no process
    succeeded or when runs of one condition have different fingerprints, unless `allow_different`, which
    turns that into a note.
    """
    runs = _last_attempts(_named(run_records(tables.runs), models))
    if not any(run["status"] == "ok" for run in runs):
        failures = "; ".join(dict.fromkeys(f"{run['model']}: {run['error_message'] or run['status']}" for run in runs))
        raise NothingComparable(
            f"No process succeeded, so there is nothing to compare ({failures}).",
            "`harness report` shows the message of each.",
        )
    groups = group(runs)
    if baseline is not None:  # where a condition lacks it, its first model takes its place: but somebody must have it
        choose(models_of([run for _, members in groups for run in members]), baseline)
    comparisons = [
        _compare(tables, condition, members, baseline, every_metric, allow_different) for condition, members in groups
    ]
    comparisons = [replace(each, notes=(*each.notes, *_apart_by_runtime(each, comparisons))) for each in comparisons]
    return (replace(comparisons[0], notes=(*comparisons[0].notes, *left_out(tables))), *comparisons[1:])


def resolutions(tables: Tables, metrics: Sequence[Metric]) -> list[tuple[Resolution | None, list[Run]]]:
    """What each condition resolves in these metrics, with its runs: of a session that is still going on, whose first
    model is the baseline.
    """
    by_condition = []
    for _, runs in group(_last_attempts(run_records(tables.runs))):
        rows = rows_of(tables, runs, models_of(runs), metrics)
        by_condition.append((resolution_of(rows, runs), runs))
    return by_condition


def left_out(tables: Tables) -> tuple[str, ...]:
    """What a reader must know of rows that are missing because they cannot be read."""
    return tuple(f"WARNING: {problem}" for problem in tables.problems)


def _compare(
    tables: Tables,
    condition: Condition,
    runs: list[Run],
    baseline: str | None,
    every_metric: bool,
    allow_different: bool,
) -> Comparison:
    good = [run for run in runs if run["status"] == "ok"]
    if not allow_different:
        check_comparable(condition, good)
    # A model of which nothing succeeded is no baseline, though its failed description is the first row.
    models = sorted(models_of(runs), key=lambda model: not any(is_of(run, model) for run in good))
    lacking: tuple[str, ...] = ()
    try:
        models = choose(models, baseline)
    except UsageError:
        lacking = (f"{baseline} was not measured under this condition, so {models[0].label} is the baseline here.",)
    samples = tables.samples[tables.samples["attempt_id"].isin([run["attempt_id"] for run in good])]
    scalars = tables.scalars[tables.scalars["attempt_id"].isin([run["attempt_id"] for run in runs])]
    frame = tables.runs[tables.runs["attempt_id"].isin([run["attempt_id"] for run in runs])]
    metrics = [metric for metric in CATALOGUE if metric.main or every_metric]
    rows = rows_of(Tables(frame, samples, scalars), runs, models, metrics)
    resolution = resolution_of(rows, runs)
    timed = [run for run in good if run["measure"] == "latency"]
    return Comparison(
        condition,
        tuple(models),
        tuple(rows),
        processes=tuple(sum(is_of(run, model) for run in timed) for model in models),
        interleaved=len(models) > 1 and are_interleaved(timed),
        latency_kinds=distinct(timed, "latency_kind"),
        counted=bool(timed) and all(run["latency_kind"] is None for run in timed),
        sessions=distinct(runs, "session_id"),
        dates=distinct(runs, "date"),
        harness=tuple(
            dict.fromkeys(
                f"{run['harness_version']} ({run['harness_commit'][:12]})"
                if run["harness_commit"]
                else str(run["harness_version"])
                for run in runs
            )
        ),
        fingerprint=_merged(run["fingerprint_json"] for run in [*timed, *good]),
        settings=settings_by_model(timed or good, models),
        flags=tuple(count_flags(good, models)),
        resolution=resolution,
        notes=(
            *lacking,
            *notes_on(runs, models, samples),
            *warn_of_other_outputs(rows, runs, models),
            *warn_of_unlike_outputs(rows, runs, models),
            *how_sure_accuracies_are(rows, models),
            *foot(resolution),
        ),
        verdict=verdict(models, rows),
    )


def _apart_by_runtime(comparison: Comparison, comparisons: Sequence[Comparison]) -> list[str]:
    """Why models of the same session stand in another table, where it is `--runtime` alone that was about some."""
    notes = []
    for other in comparisons:
        runtime = comparison.condition.runtime or other.condition.runtime
        conditions = [replace(without_data(each.condition), runtime=None) for each in (comparison, other)]
        others = [model.label for model in other.models if model not in comparison.models]
        alike = conditions[0] == conditions[1] and set(comparison.sessions) & set(other.sessions)
        if other is not comparison and alike and others and comparison.condition.runtime != other.condition.runtime:
            verb = "stands" if len(others) == 1 else "stand"
            notes.append(
                f"{', '.join(others)} {verb} in another table, since `--runtime {runtime}` is not about all of these "
                "models: leave it out to compare them."
            )
    return notes


def _named(runs: list[Run], names: Sequence[str]) -> list[Run]:
    known = list(dict.fromkeys(run["model"] for run in runs))
    chosen = [measured_name(name, known) for name in names]
    return [run for run in runs if not names or run["model"] in chosen]


def _last_attempts(runs: list[Run]) -> list[Run]:
    """One attempt a job and session: the last that succeeded, or the last."""
    last: dict[tuple[str, str], Run] = {}
    for run in runs:
        key = (run["session_id"], run["job_id"])
        if key not in last or run["status"] == "ok" or last[key]["status"] != "ok":
            last[key] = run
    return list(last.values())


def _merged(texts: Iterable[str | None]) -> dict[str, Any]:
    """The fields of several JSON objects; of unlike values the first stays, but versions of a runtime all do."""
    merged: dict[str, Any] = {}
    versions: dict[str, dict[str, None]] = {}
    for text in texts:
        fields = json.loads(text or "{}")
        merged = fields | merged
        for name, value in fields.items():
            if name.startswith(RUNTIME):
                versions.setdefault(name, {})[str(value)] = None
    merged |= {name: " and ".join(different) for name, different in versions.items() if len(different) > 1}
    return dict(sorted(merged.items()))
