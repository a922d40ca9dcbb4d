"""What programs read, at full precision: JSON of one shape for every command, and CSV of a comparison with one row per
condition, model and metric. Imports nothing heavy: every command with `--json` prints through it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from harness.analysis.flags import sentence
from harness.conditions.fields import ASKED

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.analysis.figures import Figure, Versus
    from harness.analysis.resolution import Resolution
    from harness.analysis.rows import Row

VERSION = 1
"""Of the shape that all JSON has: `{"version", "kind", "data"}`."""
Kind = Literal[
    "ablation",
    "answers",
    "bisection",
    "check",
    "comparison",
    "compaction",
    "compression",
    "devices",
    "doctor",
    "figure",
    "flash-profile",
    "flash-reproduction",
    "inspection",
    "methods",
    "model",
    "models",
    "neuron-file",
    "night",
    "packing",
    "plan",
    "price",
    "projection",
    "report",
    "sessions",
    "targets",
    "trace",
    "training",
    "verification",
    "zoo",
]
COLUMNS = (
    *ASKED,
    "baseline",
    "model",
    "model_sha256",
    "metric",
    "value",
    "low",
    "high",
    "unit",
    "better",
    "kind",
    "processes",
    "reason",
    "comparison",
    "difference",
    "ratio",
    "ratio_low",
    "ratio_high",
    "resolved",
    "ratio_reason",
    "interval_reason",
    "verdict",
)


def comparison_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The comparisons as JSON values, in the `data` of a comparison. Units stand in the metrics' names; null means not
    measured, and `reason` says why.
    """
    from harness.report.layout import versions

    return [
        {
            "condition": asdict(comparison.condition),
            "sessions": comparison.sessions,
            "dates": comparison.dates,
            "harness": comparison.harness,
            "versions": versions(comparison.fingerprint),
            "fingerprint": comparison.fingerprint,
            "settings": comparison.settings,
            "latency_kinds": comparison.latency_kinds,
            "interleaved": comparison.interleaved,
            "baseline": comparison.models[0].label,
            "models": [
                {"model": model.label, "sha256": model.sha256, "latency_processes": count}
                for model, count in zip(comparison.models, comparison.processes, strict=True)
            ],
            "resolution": _resolution(comparison.resolution),
            "metrics": [_metric(comparison, row) for row in comparison.rows],
            "flags": [
                asdict(flag) | {"by_model": dict(flag.by_model), "meaning": sentence(flag.flag)}
                for flag in comparison.flags
            ],
            "notes": comparison.notes,
            "verdict": comparison.verdict,
        }
        for comparison in comparisons
    ]


def dump_json(kind: Kind, data: Any) -> str:
    """What a command prints with `--json`: indented ASCII JSON that ends with a line break, keys in the order given.
    Raises ValueError for numbers that are not finite.
    """
    return json.dumps({"version": VERSION, "kind": kind, "data": data}, indent=2, allow_nan=False) + "\n"


def comparison_csv(comparisons: Sequence[Comparison]) -> str:
    """Tidy rows with a heading line; an empty field is a null."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for comparison in comparisons:
        options = {name: getattr(comparison.condition, name) for name in ASKED}
        for row in comparison.rows:
            metric = {"metric": row.metric.name, "unit": row.metric.unit, "better": row.metric.better}
            for model, figure, versus in zip(comparison.models, row.figures, row.versus, strict=True):
                who = {
                    "baseline": comparison.models[0].label,
                    "model": model.label,
                    "model_sha256": model.sha256,
                    "verdict": comparison.verdict.get(model.label),
                }
                writer.writerow(options | metric | who | _figure(figure) | (_ratio(versus) if versus else {}))
    return file.getvalue()


def _resolution(resolution: Resolution | None) -> dict[str, Any] | None:
    return None if resolution is None else asdict(resolution) | {"reached": resolution.reached}


def _metric(comparison: Comparison, row: Row) -> dict[str, Any]:
    return {
        "metric": row.metric.name,
        "label": row.metric.label,
        "section": row.metric.section,
        "unit": row.metric.unit,
        "better": row.metric.better,
        "models": [
            {"model": model.label}
            | _figure(figure)
            | {"values": figure.values, "versus_baseline": asdict(versus) if versus else None}
            for model, figure, versus in zip(comparison.models, row.figures, row.versus, strict=True)
        ],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    estimate = figure.estimate
    return {
        "value": estimate.value if estimate else None,
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
        "kind": figure.kind if estimate else None,
        "processes": len(figure.values),
        "reason": figure.reason,
        "interval_reason": figure.no_interval,
    }


def _ratio(versus: Versus) -> dict[str, Any]:
    value = "difference" if versus.kind == "difference" else "ratio"
    return {
        "comparison": versus.kind,
        value: versus.value,
        "ratio_low": versus.low,
        "ratio_high": versus.high,
        "resolved": versus.resolved,
        "ratio_reason": versus.reason,
    }
