"""What is known of each model on each target: the facts of its file, its operators, what it read from storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.grouping import Model, Run, distinct, is_of, models_of, records
from harness.analysis.numbers import quantity, scale
from harness.metrics import CATALOGUE
from harness.report.table import plain

OPERATORS = 20
# Columns of `runs` that describe a file, with their labels and units (None for text).
FACTS: tuple[tuple[str, str, str | None], ...] = (
    ("method", "Method", None),
    ("parent", "Parent", None),
    ("precision", "Precision", None),
    *(
        (metric.name, f"{metric.label[:1].upper()}{metric.label[1:]}", metric.unit)
        for metric in CATALOGUE
        if metric.exactness == "file" and metric.section == "Size"
    ),
)


def profiles(runs: Sequence[Run], ops: pd.DataFrame, io: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary a target and model file, in order of first appearance; a fact is a text and what it was made
    from, None where it is not known.
    """
    described = []
    for target in dict.fromkeys(run["target"] for run in runs):
        here = [run for run in runs if run["target"] == target]
        for model in models_of(here):
            model_runs = [run for run in here if is_of(run, model)]
            ids = {run["attempt_id"] for run in model_runs}
            described.append(
                {
                    "label": plain(model.label),
                    "name": model.name,
                    "sha256": model.sha256,
                    "target": target,
                    "runs": len(model_runs),
                    "failed": sum(run["status"] != "ok" for run in model_runs),
                    "facts": {name: _fact(model_runs, name, unit) for name, _, unit in FACTS},
                    "operators": _operators(ops[ops["attempt_id"].isin(ids)]),
                    # Times of operators are as real as the target's latency.
                    "operators_kind": ", ".join(distinct(model_runs, "latency_kind")) or "no latency on this target",
                    "storage": _storage(io[io["attempt_id"].isin(ids)]),
                }
            )
    return described


def index_of(described: Sequence[Mapping[str, Any]], target: str, model: Model | Run) -> int:
    """Which of `profiles` is this model's, or this run's; a run that failed before its file was hashed belongs to the
    first of its name.
    """
    name, sha256 = (model.name, model.sha256) if isinstance(model, Model) else (model["model"], model["model_sha256"])
    of_name = [number for number, entry in enumerate(described) if entry["target"] == target and entry["name"] == name]
    return next((number for number in of_name if described[number]["sha256"] == sha256), of_name[0])


def _fact(runs: Sequence[Run], name: str, unit: str | None) -> dict[str, Any] | None:
    value = next((run[name] for run in reversed(runs) if run[name] is not None), None)
    if value is None:
        return None
    return {"text": value if unit is None else amount(unit, value), "value": value}


def _operators(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The operators that took the most time, summed over processes, with their share of all operators' time."""
    if rows.empty:
        return []
    keys = ["operator", "delegate"]
    total = rows.fillna({"delegate": ""}).groupby(keys, sort=False)[["calls", "total_ns"]].sum().reset_index()
    all_ns = float(total["total_ns"].sum())
    most = total.sort_values(["total_ns", *keys], ascending=[False, True, True]).head(OPERATORS)
    return [
        row
        | {
            "text": amount("ns", row["total_ns"]),
            "share": row["total_ns"] / all_ns if all_ns else None,
            "percent": f"{100 * row['total_ns'] / all_ns:.1f} %" if all_ns else "–",
        }
        for row in records(most)
    ]


def _storage(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Medians over the processes, one row a phase."""
    if rows.empty:
        return []
    columns = ["asked_bytes", "read_bytes", "major_faults"]
    medians = records(rows.groupby("phase", sort=False)[columns].median().reset_index())
    return [
        {
            "phase": row["phase"],
            "asked": amount("bytes", row["asked_bytes"]),
            "read": amount("bytes", row["read_bytes"]),
            "faults": amount("1", row["major_faults"]),
        }
        for row in medians
    ]


def amount(unit: str, value: float | None) -> str | None:
    """A value with its unit for people; None for None."""
    return None if value is None else quantity(value, None, None, scale(unit, [value]))[0]
