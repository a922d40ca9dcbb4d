"""The part of the store that a table asks for, one comparison a condition; what cannot be compared says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.best import leader
from harness.analysis.comparison import Comparison, compare_tables
from harness.analysis.grouping import distinct, group, measured_name, run_records
from harness.analysis.peers import Identity, fastest_rounded, identity_of, yardstick_of
from harness.analysis.spec import ColumnSpec, TableSpec, default_columns
from harness.conditions.fields import Condition, tell_apart
from harness.errors import NothingComparable, UsageError
from harness.metrics import Metric
from harness.store.dataset import Tables, read_tables

# Phases with one sample an iteration of the scenario.
_ITERATIONS = ("steady", "batch", "generate")


@dataclass(frozen=True)
class View:
    """One condition. `words` tell it from the other views of the selection, none where there is no other.

    `based` says that the table's baseline was measured here and is the first model of `comparison`. `against` is the
    same comparison with another baseline, by its label: every model that leads in a metric of the table, the best
    rounded peers, and the yardsticks, where it asks how far others are from these. `identities` are what the models
    are, by label. `best_rounded_peers` are, where the spec asks for them, the times among its columns, each with the
    label of the rounded model that is the fastest by it.
    """

    words: tuple[str, ...]
    comparison: Comparison
    against: Mapping[str, Comparison]
    based: bool
    iterations: str | None
    identities: Mapping[str, Identity]
    best_rounded_peers: tuple[tuple[Metric, str], ...]

    @property
    def name(self) -> str:
        """Its words on one line."""
        return ", ".join(self.words)

    @property
    def yardsticks(self) -> tuple[str, ...]:
        """The labels of those that are never the best."""
        return tuple(label for label, identity in self.identities.items() if identity.yardstick)

    def yardstick_of(self, label: str) -> str | None:
        """The label of the yardstick for the weights of a model."""
        return yardstick_of(self.identities, label) if label in self.identities else None


def read_selection(results: Path, spec: TableSpec) -> Tables:
    """The rows of the sessions and days that the spec names. Raises as `read_tables` does, NothingComparable where
    no run is left, UsageError where two names mean one session.
    """
    parts = [read_tables(results, session) for session in spec.sessions]
    tables = parts[0]
    if len(parts) > 1:
        tables = Tables(
            pd.concat([part.runs for part in parts], ignore_index=True),
            pd.concat([part.samples for part in parts], ignore_index=True),
            pd.concat([part.scalars for part in parts], ignore_index=True),
            problems=tuple(dict.fromkeys(problem for part in parts for problem in part.problems)),
        )
    if tables.runs["attempt_id"].duplicated().any():
        raise UsageError(f"Two of the sessions {', '.join(spec.sessions)} are the same.", "Name each once.")
    day = tables.runs["date"]
    runs = tables.runs[(day >= (spec.since or "")) & (day <= (spec.until or "9999"))]
    if runs.empty:
        span = " ".join(f"{word} {given}" for word, given in (("since", spec.since), ("until", spec.until)) if given)
        raise NothingComparable(
            f"Nothing in {results} was measured {span}.", "`harness report --list` shows the sessions and their dates."
        )
    return replace(tables, runs=runs.reset_index(drop=True))


def chosen_models(tables: Tables, wanted: Sequence[str]) -> list[str]:
    """The names in the store that are meant, in that order; all, in order of first appearance, for none.

    A name is meant by itself or by its beginning, where no other begins so. Raises UsageError.
    """
    known = list(distinct(run_records(tables.runs), "model"))
    return list(dict.fromkeys(measured_name(name, known) for name in wanted)) or known


def views_of(tables: Tables, spec: TableSpec, models: Sequence[str], baseline: str) -> tuple[list[View], list[str]]:
    """A view a condition that the spec asks for, in the order they were first measured, and a sentence for each that
    cannot be shown. Raises NothingComparable where none can.
    """
    runs = [run for run in run_records(tables.runs) if run["model"] in models]
    asked = spec.columns or default_columns()
    groups = [
        (condition, members)
        for condition, members in group(runs)
        if matches(condition, spec.where) and any(matches(condition, column.where) for column in asked)
    ]
    words_of_each = tell_apart([condition for condition, _ in groups])
    views, errors = [], []
    for words, (_, members) in zip(words_of_each, groups, strict=True):
        part = _part(tables, [run["attempt_id"] for run in members])
        based = any(run["model"] == baseline for run in members)
        try:
            first = _compare(part, baseline if based else None, spec.allow_different)
        except NothingComparable as error:
            errors.append((", ".join(words), error))
            continue
        against = {first.models[0].label: first}
        identities = {model.label: identity_of(model, members) for model in first.models}
        yardsticks = [label for label, identity in identities.items() if identity.yardstick]
        others = {leader(first, column.metric, yardsticks) for column in asked}
        others.update(yardsticks if any(column.show == "of_bound" for column in asked) else ())
        for label in others:
            if label is not None and label not in against:
                against[label] = _compare(part, label, spec.allow_different)
        peers = _peers(first, identities, asked) if spec.best_rounded_peer else ()
        for _, peer in peers:
            if peer not in against:
                against[peer] = _compare(part, peer, spec.allow_different)
        views.append(View(words, first, against, based, _iterations(part), identities, peers))
    if not views and errors:
        raise errors[0][1]
    if not views:
        wanted = [", ".join(f"{key} {value}" for key, value in (spec.where | column.where).items()) for column in asked]
        raise NothingComparable(
            f"No run of this selection has {' or '.join(dict.fromkeys(wanted))}.",
            "`harness report` shows what was measured.",
        )
    return views, [f"Not shown{f', {name}' if name else ''}: {error.message}" for name, error in errors]


def _peers(
    comparison: Comparison, identities: Mapping[str, Identity], asked: Sequence[ColumnSpec]
) -> tuple[tuple[Metric, str], ...]:
    """The times among the columns that are asked for under this condition, each with the label of the fastest rounded
    model by it: another runtime may be the fastest at prompts than at single tokens.
    """
    times = dict.fromkeys(
        column.metric for column in asked if column.metric.is_time and matches(comparison.condition, column.where)
    )
    found = [(metric, fastest_rounded(comparison, identities, metric)) for metric in times]
    return tuple((metric, peer) for metric, peer in found if peer is not None)


def matches(condition: Condition, where: Mapping[str, Any]) -> bool:
    """Whether each field has the value asked for."""
    return all(getattr(condition, key) == value for key, value in where.items())


def _iterations(tables: Tables) -> str | None:
    """How many iterations were measured, such as `30 iterations per process`; None where a scenario has none."""
    runs, samples = tables.runs, tables.samples
    timed = runs[(runs["status"] == "ok") & (runs["measure"] == "latency")]["attempt_id"]
    measured = samples[samples["phase"].isin(_ITERATIONS) & samples["attempt_id"].isin(timed)]
    counts = measured.groupby("attempt_id", observed=True).size()
    if counts.empty:
        return None
    low, high = int(counts.min()), int(counts.max())
    return f"{low if low == high else f'{low}–{high}'} iteration{'' if high == 1 else 's'} per process"


def _compare(part: Tables, baseline: str | None, allow_different: bool) -> Comparison:
    (comparison,) = compare_tables(part, baseline=baseline, every_metric=True, allow_different=allow_different)
    return comparison


def _part(tables: Tables, attempts: Sequence[str]) -> Tables:
    runs, samples, scalars = (
        frame[frame["attempt_id"].isin(attempts)] for frame in (tables.runs, tables.samples, tables.scalars)
    )
    return Tables(runs, samples, scalars)
