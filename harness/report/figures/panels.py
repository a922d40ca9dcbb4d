"""What a figure is drawn from: the chosen part of the store, one panel a condition, and its caption in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.analysis.comparison import Comparison, compare_tables, left_out
from harness.analysis.grouping import group, run_records
from harness.analysis.selection import chosen_models
from harness.conditions.fields import tell_apart
from harness.errors import NothingComparable, UsageError
from harness.report.layout import caption
from harness.report.table import lines_of
from harness.store.dataset import Tables

MOST = 6


@dataclass(frozen=True)
class Panel:
    """One condition: `comparison` with every metric, made from `tables`, which hold no other condition. `title` says
    in what it differs from the other panels, '' where there is only one.
    """

    title: str
    comparison: Comparison
    tables: Tables


def panels_of(
    tables: Tables, *, models: Sequence[str] = (), target: str | None = None, allow_different: bool = False
) -> tuple[list[Panel], list[str]]:
    """A panel a condition, of all models or those named, on all targets or the one named; and a sentence for each
    condition that cannot be shown.

    Raises UsageError for a name that was not measured and for more conditions than one figure can show,
    NothingComparable where none can be shown.
    """
    names = chosen_models(tables, models)
    targets = sorted(set(tables.runs["target"]))
    if target not in (None, *targets):
        raise UsageError(f"Nothing was measured on {target!r} here.", f"Targets here: {', '.join(targets)}.")
    runs = [run for run in run_records(tables.runs) if run["model"] in names and target in (None, run["target"])]
    groups = group(runs)
    titles = [", ".join(words) for words in tell_apart([condition for condition, _ in groups])]
    panels, errors = [], []
    for title, (_, members) in zip(titles, groups, strict=True):
        attempts = [run["attempt_id"] for run in members]
        part = replace(tables, runs=tables.runs[tables.runs["attempt_id"].isin(attempts)], problems=())
        try:
            (comparison,) = compare_tables(part, every_metric=True, allow_different=allow_different)
            panels.append(Panel(title, comparison, part))
        except NothingComparable as error:
            errors.append((title, error))
    if not panels:
        raise (
            errors[0][1]
            if errors
            else NothingComparable(
                f"None of {', '.join(names)} was measured on {target}.", "Choose others by name, or another --target."
            )
        )
    if len(panels) > MOST:
        raise UsageError(
            f"These results have {len(panels)} conditions, and a figure shows {MOST} at most.",
            "Choose by --session, --target or the names of models.",
        )
    return panels, [*(f"Not shown: {title}: {error.message}" for title, error in errors), *left_out(tables)]


def origin(panels: Sequence[Panel]) -> str:
    """Where the numbers come from, in one line: targets, processors and sessions."""
    machines = dict.fromkeys(
        f"{panel.comparison.condition.target} · {panel.comparison.fingerprint.get('cpu_model') or 'unknown processor'}"
        for panel in panels
    )
    sessions = list(dict.fromkeys(session for panel in panels for session in panel.comparison.sessions))
    named = sessions[0] if len(sessions) == 1 else f"{sessions[0]} and {len(sessions) - 1} more"
    return lines_of([f"{', '.join(machines)} · session {named}"])[0]


def facts(panel: Panel) -> list[str]:
    """How the numbers of a panel were obtained, in lines, as below a table."""
    condition = panel.comparison.condition
    title = " · ".join(part for part in (condition.target, condition.device, condition.scenario) if part)
    return lines_of([title, *caption(panel.comparison)[:-1]])  # the last line explains the columns of a table
