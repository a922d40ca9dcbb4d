"""Figures as records of PyTorch's benchmark database, table `oss_ci_benchmark_v3`.

Fields and types are those of `clickhouse_db_schema/benchmark.oss_ci_benchmark_v3/schema.sql` in pytorch/test-infra
(commit 61a77570, August 2026); what a CI knows (repository, branch, workflow, job) is added by that repository's
`upload_benchmark_results.py`. A metric without a figure has no record, since the table has no null. What is estimated,
emulated or recorded carries that in the metric's name and in its `extra_info`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import NothingComparable

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.analysis.grouping import Model, Run
    from harness.analysis.rows import Row
    from harness.store.dataset import Tables

_OF_MODEL = ("model_sha256", "method", "parent", "parameters", "bits_per_weight", "bits_per_weight_stored")


def records_json(tables: Tables) -> str:
    """A JSON list, a record a session, condition, model and metric. Raises NothingComparable where there is none."""
    from harness.analysis.comparison import compare_tables
    from harness.analysis.grouping import run_records
    from harness.store.dataset import Tables

    records, errors = [], []
    for session, runs in tables.runs.groupby("session_id", sort=False):
        samples, scalars = (
            frame[frame["attempt_id"].isin(runs["attempt_id"])] for frame in (tables.samples, tables.scalars)
        )
        try:
            comparisons = compare_tables(Tables(runs, samples, scalars), every_metric=True)
        except NothingComparable as error:
            errors.append(error)
            continue
        members = run_records(runs)
        records += [record for comparison in comparisons for record in _records(str(session), comparison, members)]
    if not records:
        raise errors[0] if errors else NothingComparable("There is nothing to export.", "Run `harness run` first.")
    return json.dumps(records, indent=1) + "\n"


def _records(session: str, comparison: Comparison, runs: list[Run]) -> Iterator[dict[str, Any]]:
    from harness.analysis.grouping import flatten, is_of
    from harness.conditions.fields import TELLING

    condition, fields = comparison.condition, flatten(comparison.fingerprint)
    versions = {name.removeprefix("version."): text for name, text in fields.items() if name.startswith("version.")}
    # The target and device stand with the runner, the scenario in the name, the runtime with the model.
    apart = {"target", "device", "scenario", "runtime"}
    options = {entry.name: getattr(condition, entry.name) for entry in TELLING if entry.name not in apart}
    started = min(run["started_at"] for run in runs).isoformat()
    about = {"target": condition.target, "device": condition.device, "session_id": session, "started_at": started}
    runner = {
        "name": condition.device or "",
        "type": condition.target,
        "cpu_info": fields.get("cpu_model", ""),
        "extra_info": _texts(fields),
    }
    for number, model in enumerate(comparison.models):
        first = next(run for run in reversed(runs) if is_of(run, model))
        for row in comparison.rows:
            if (metric := _metric(comparison, row, number)) is None:
                continue
            yield {
                "benchmark": {
                    "name": f"harness {condition.scenario}",
                    "mode": "inference",
                    "dtype": first["precision"] or "",
                    "extra_info": _texts(about | options),
                },
                "model": _model(model, first, condition.runtime),
                "runners": [runner],
                "dependencies": {
                    "harness": {"version": first["harness_version"] or "", "sha": first["harness_commit"] or ""},
                    **{name: {"version": version} for name, version in versions.items()},
                },
                "metric": metric,
            }


def _model(model: Model, run: Run, runtime: str | None) -> dict[str, Any]:
    return {
        "name": model.label,
        "type": "",
        "backend": runtime or run["worker"] or "",
        "origins": [],
        "extra_info": _texts({name: run[name] for name in _OF_MODEL}),
    }


def _metric(comparison: Comparison, row: Row, number: int) -> dict[str, Any] | None:
    """One value a process, in the unit that the metric's name has; None where there is no figure."""
    figure = row.figures[number]
    if figure.estimate is None:
        return None
    kind = _kind(comparison, row, figure.kind)
    return {
        "name": row.metric.name if kind == "measured" else f"{row.metric.name} [{kind}]",
        "benchmark_values": list(figure.values),
        "extra_info": _texts(
            {
                "kind": kind,
                "unit": row.metric.unit,
                "better": row.metric.better,
                "value": figure.estimate.value,
                "low_95": figure.estimate.low,
                "high_95": figure.estimate.high,
                "flags": " ".join(count.flag for count in comparison.flags) or None,
            }
        ),
    }


def _kind(comparison: Comparison, row: Row, kind: str) -> str:
    """Everything that a pass without a device yields is what its latency is, but for the facts of a file."""
    if kind != "measured" or row.metric.measure != "latency" or row.metric.exactness == "file":
        return kind
    if comparison.counted:
        return "emulated"
    return next((latency_kind for latency_kind in comparison.latency_kinds if latency_kind != "measured"), kind)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """A Map(String, String): what is unknown is absent."""
    return {key: str(value) for key, value in values.items() if value not in (None, "null")}
