"""What a page shows, as JSON values: texts, figures and intervals are made here, and the browser only lays them out.

Every comparison is one session's, as `harness compare` prints it: sessions are set side by side in trends, never
pooled. Null means not measured, and `reason` says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison, compare_tables
from harness.analysis.figures import Figure, plural
from harness.analysis.flags import sentence
from harness.analysis.grouping import RUNTIME, Run, choose, flatten, models_of, run_records
from harness.analysis.numbers import scale
from harness.conditions.fields import KEY, without_data
from harness.errors import HarnessError
from harness.metrics import CATALOGUE, SECTIONS
from harness.report.layout import comparison_table
from harness.report.page.profile import FACTS, index_of, profiles
from harness.report.table import Cell, lines_of, plain
from harness.store.dataset import Tables, read_tables

STDERR_LINES = 20
# What a run was made under, beside its fingerprint.
_CONDITIONS = (
    *(name for name in KEY if name not in ("target", "scenario")),
    "data",
    "latency_kind",
    "worker",
    "harness_version",
    "harness_commit",
)


def page_data(
    results: Path, session: str = "all", *, baseline: str | None = None, allow_different: bool = False
) -> dict[str, Any]:
    """Runs, comparisons by session (the newest first) and models of a folder; `problems` are sentences on what cannot
    be shown.

    `session`, `baseline` and `allow_different` as in `read_tables` and `compare_tables`; a session without the baseline
    is set against its own first model, and says so. Raises NothingComparable where there are no rows, StoreError
    where none can be read, UsageError for a baseline that no session has.
    """
    stored = read_tables(results, session, ("ops", "io"))
    runs = run_records(stored.runs)
    if baseline is not None:
        choose(models_of(runs), baseline)
    models = profiles(runs, stored.others["ops"], stored.others["io"])
    comparisons: list[dict[str, Any]] = []
    problems = list(stored.problems)
    for session_id, tables in _by_session(stored):
        members = run_records(tables.runs)
        measured = {name for model in models_of(members) for name in (model.name, model.label)}
        against = baseline if baseline in measured else None
        if against != baseline:
            problems.append(f"Session {session_id} has no {baseline}: it is compared with the first model it measured.")
        try:
            of_session = compare_tables(tables, baseline=against, every_metric=True, allow_different=allow_different)
        except HarnessError as error:
            problems.append(f"Session {session_id} has no comparison. {error}")
            continue
        started = members[0]["started_at"]
        comparisons = [_comparison(comparison, models, started) for comparison in of_session] + comparisons
    conditions: dict[str, int] = {}
    return {
        "problems": lines_of(problems),
        "metrics": _metrics(comparisons),
        "comparisons": comparisons,
        "models": models,
        "model_facts": [[name, label, *([] if unit is None else ["number"])] for name, label, unit in FACTS],
        "runs": [_run(run, models, conditions) for run in reversed(runs)],
        "conditions": list(conditions),
        "flags": {flag: sentence(flag) for flag in dict.fromkeys(f for run in runs for f in run["flags"] or ())},
    }


def _by_session(tables: Tables) -> list[tuple[str, Tables]]:
    """The rows of each session, in the order in which the sessions began."""
    session_of = tables.runs.set_index("attempt_id")["session_id"]
    samples, scalars = (
        dict(list(frame.groupby(frame["attempt_id"].astype("object").map(session_of), sort=False)))
        for frame in (tables.samples, tables.scalars)
    )
    no_samples, no_scalars = tables.samples.iloc[:0], tables.scalars.iloc[:0]
    return [
        (str(name), Tables(runs, samples.get(name, no_samples), scalars.get(name, no_scalars)))
        for name, runs in tables.runs.groupby("session_id", sort=False)
    ]


def _comparison(comparison: Comparison, models: Sequence[Mapping[str, Any]], started: pd.Timestamp) -> dict[str, Any]:
    table = comparison_table(comparison)
    cells = {row[0].value: row for section in table.sections for row in section.rows}
    by_name = {row.metric.name: row for row in comparison.rows}
    rows = [by_name[name] for name in cells]
    target = comparison.condition.target
    machine = {name: value for name, value in comparison.fingerprint.items() if not name.startswith(RUNTIME)}
    flags = [
        [
            f"{plural(count, 'process')}: {sentence(flag.flag)}"
            for flag in comparison.flags
            for label, count in flag.by_model
            if label == model.label and count
        ]
        for model in comparison.models
    ]
    return {
        "title": plain(table.title),
        "target": target,
        "session": comparison.sessions[0],
        "started": started.isoformat(),
        "started_ms": started.timestamp() * 1000,
        "facts": table.caption[0],
        "caption": lines_of(table.caption),
        "notes": lines_of((*table.notes, *table.verdict)),
        # What sessions must share to be one trend: all that was asked for, and the machine; and what their figures must
        # share to be joined by a line: the versions too. The data are asked of quality alone.
        "condition": json.dumps([asdict(without_data(comparison.condition)), machine]),
        "fingerprint": json.dumps(comparison.fingerprint, sort_keys=True),
        "machine": lines_of(table.caption[1:2]),
        "data": comparison.condition.data_sha256 or "",
        "metrics": [row.metric.name for row in rows],
        "labels": [cells[row.metric.name][0].text for row in rows],
        "units": [list(scale(row.metric.unit, [f.estimate.value for f in row.figures if f.estimate])) for row in rows],
        "models": [
            {
                "label": plain(model.label),
                "model": index_of(models, target, model),
                "flags": flags[number],
                "cells": [_cell(cells[row.metric.name], number, row.figures[number]) for row in rows],
            }
            for number, model in enumerate(comparison.models)
        ],
    }


def _cell(row: Sequence[Cell], number: int, figure: Figure) -> dict[str, Any]:
    """One figure as the terminal shows it, and as numbers; what is null is left out."""
    cell = row[1 + 2 * number - (number > 0)]
    estimate = figure.estimate
    shown: dict[str, Any] = {
        "text": cell.text,
        "detail": cell.detail,
        "kind": figure.kind if estimate and figure.kind != "measured" else None,
        "value": estimate.value if estimate else None,
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
    }
    against = row[1 + 2 * number] if number else Cell()
    if against.text:
        shown["versus"] = {"text": against.text, "detail": against.detail, "tone": against.tone}
    return {key: value for key, value in shown.items() if value is not None and value != ""}


def _metrics(comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The metrics that some comparison has, in the order of the catalogue's sections."""
    present = dict.fromkeys(name for comparison in comparisons for name in comparison["metrics"])
    return [
        {
            "name": metric.name,
            "label": metric.label,
            "section": metric.section,
            "better": metric.better,
            "word": metric.comparison_word,
            # Differences are read from the values themselves, ratios from lengths, which begin at zero.
            "zero": metric.comparison != "difference" and metric.unit != "dB",
            "main": metric.main,
        }
        for section in SECTIONS
        for metric in CATALOGUE
        if metric.name in present and metric.section == section
    ]


def _run(run: Run, models: Sequence[Mapping[str, Any]], conditions: dict[str, int]) -> dict[str, Any]:
    took = (run["finished_at"] - run["started_at"]).total_seconds() if run["finished_at"] is not None else None
    error = ": ".join(lines_of(text for text in (run["error_kind"], run["error_message"]) if text))
    stderr = [plain(line, "\t") for line in (run["stderr_tail"] or "").splitlines()[-STDERR_LINES:]]
    number = conditions.setdefault(_conditions(run), len(conditions))
    return {
        "model": index_of(models, run["target"], run),
        "session": run["session_id"],
        "position": run["position"],
        "scenario": run["scenario"],
        "pass": run["measure"],
        "block": run["block"],
        "status": run["status"],
        "took_s": took,
        "started": run["started_at"].isoformat(),
        "flags": run["flags"] or [],
        "conditions": number,
    } | ({"error": error, "stderr": "\n".join(stderr)} if run["status"] != "ok" else {})


def _conditions(run: Run) -> str:
    """What a run was made under, a line each; what could not be read says so."""
    fingerprint = flatten(json.loads(run["fingerprint_json"] or "{}"))
    known = {name: run[name] for name in _CONDITIONS if run[name] is not None}
    if run["cpus"] is None:
        known["cpus"] = "not pinned"
    return "\n".join(
        f"{name}: {'unknown' if value in (None, 'null') else plain(str(value))}"
        for name, value in (known | fingerprint).items()
    )
