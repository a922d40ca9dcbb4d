"""What a figure shows, in sentences for its caption and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.analysis.figures import Figure, missing_interval, plural, why_no_interval
from harness.analysis.notes import without_advice
from harness.analysis.numbers import quantity, scale
from harness.metrics import Metric
from harness.report.figures.intensity import PHASES, Dot, Roof
from harness.report.figures.latencies import MARKED, Latencies
from harness.report.figures.panels import Panel, facts
from harness.report.figures.points import Point
from harness.report.table import lines_of

Absent = Mapping[str, str]
"""Why a model is not in the figure, by its name."""

_SHAPES = {"recorded": "Squares", "estimated": "Triangles", "emulated": "Diamonds"}
_HOW = {
    "recorded": "recorded in the manifest when the model was made, not measured here",
    "estimated": "estimated, not measured",
    "emulated": "taken on an emulated device",
}


def tell_points(panels: Sequence[tuple[Panel, Sequence[Point], Absent]], cost: Metric, quality: Metric) -> list[str]:
    """The caption of quality against cost, in lines."""
    every = [point for _, points, _ in panels for point in points]
    standings = {point.standing for point in every}
    lines = [
        f"{_capital(quality.label)}, against {cost.label}: one point per model, with 95 % intervals over processes.",
        "Line: the Pareto front, of the models that no other beats by being as good in both and better in one.",
    ]
    if "dominated" in standings:
        lines.append("Grey: dominated by another model, as the intervals confirm.")
    if "unresolved" in standings:
        lines.append("Hollow, n.s.: behind another model, which the intervals do not confirm.")
    kinds = dict.fromkeys(kind for point in every for kind in point.kinds if kind in _HOW)
    lines += [f"{_SHAPES[kind]}: {kind} figures, {_HOW[kind]}." for kind in kinds]
    for panel, points, absent in panels:
        behind = [point for point in points if point.beaten_by]
        said = [f"{point.model}: {point.standing}, behind {', '.join(point.beaten_by)}." for point in behind]
        said += [
            f"{point.model}, {metric.label}: {reason}."
            for point in points
            for metric, figure in ((cost, point.cost), (quality, point.quality))
            if (reason := missing_interval(figure))
        ]
        lines += _panel(panel, said, absent)
    return lines_of(lines)


def tell_latencies(panels: Sequence[tuple[Panel, Sequence[Latencies], Absent]], label: str) -> list[str]:
    """The caption of a distribution, in lines."""
    kinds = dict.fromkeys(one.kind for _, found, _ in panels for one in found if one.kind in _HOW)
    lines = [
        f"{_capital(label)}: the share of samples that are as fast or faster.",
        "Thin: every process. Thick: the mean of their percentiles; p50, p90 and p99 are marked, with 95 % intervals "
        "over processes. Ticks below: p50 of every process. Warm-ups are left out; the axis ends at the slowest p99.",
        *(f"Latencies here were {_HOW[kind]}." for kind in kinds),
    ]
    for panel, found, absent in panels:
        lines += _panel(panel, [sentence for one in found for sentence in _counts(one)], absent)
    return lines_of(lines)


def tell_rooflines(found: Sequence[tuple[Panel, Roof, Sequence[Dot], Absent]]) -> list[str]:
    """The caption of a roofline, in lines."""
    kinds = dict.fromkeys(dot.kind for _, _, dots, _ in found for dot in dots if dot.kind in _HOW)
    lines = [
        "Multiply-accumulates per second against those per byte moved to and from the slowest memory. Line: the "
        "most that the memory (rising) and the array (level) allow.",
        "Filled: prefill or a whole inference. Hollow: a decoded token.",
        *(f"All of this was {_HOW[kind]}." for kind in kinds),
    ]
    for panel, roof, dots, absent in found:
        said = [
            f"{' '.join(filter(None, (dot.model, PHASES[dot.phase])))}: {dot.macs_per_s / dot.bound:.0%} of what "
            f"{'the array' if dot.macs_per_byte >= roof.ridge else roof.memory} allows."
            for dot in dots
        ]
        lines += _panel(panel, said, absent)
    return lines_of(lines)


def points_json(points: Sequence[Point], cost: Metric, quality: Metric) -> list[dict[str, Any]]:
    """The points in the units of their metrics."""
    return [
        {
            "model": point.model,
            cost.name: _figure(point.cost),
            quality.name: _figure(point.quality),
            "standing": point.standing,
            "beaten_by": point.beaten_by,
        }
        for point in points
    ]


def latencies_json(found: Sequence[Latencies]) -> list[dict[str, Any]]:
    """The percentiles that are marked, of each model and of each of its processes, in ns."""
    return [
        {
            "model": one.model,
            "kind": one.kind,
            **{f"p{mark}_ns": asdict(estimate) for mark, estimate in one.marks().items()},
            "processes": [
                {"samples": samples, "warm_ups": warm_ups}
                | {f"p{mark}_ns": float(one.at(mark)[process]) for mark in one.marks()}
                for process, (samples, warm_ups) in enumerate(zip(one.samples, one.warm_ups, strict=True))
            ],
        }
        for one in found
    ]


def panel_json(panel: Panel, drawn: list[dict[str, Any]], absent: Absent) -> dict[str, Any]:
    """One panel: its condition, what is drawn in it and what is not."""
    return {
        "condition": asdict(panel.comparison.condition),
        "sessions": panel.comparison.sessions,
        "models": drawn,
        "not_shown": dict(absent),
        "notes": panel.comparison.notes,
    }


def _panel(panel: Panel, said: Sequence[str], absent: Absent) -> list[str]:
    left_out = [f"Not shown: {model}: {reason}." for model, reason in absent.items()]
    title = [f"{panel.title}:"] if panel.title else []
    return [*title, *facts(panel), *said, *left_out, *without_advice(panel.comparison.notes, panel.comparison.flags)]


def _counts(one: Latencies) -> list[str]:
    """How much a distribution rests on, and what of it cannot be seen."""
    samples = f"{_span(one.samples)} samples{' each' if len(one.samples) > 1 else ''}"
    slowest = float(one.curves.max())
    said = [
        f"{one.model}: {plural(len(one.samples), 'process')}, {samples}, after {_span(one.warm_ups)} warm-up queries; "
        f"the slowest sample took {quantity(slowest, None, None, scale('ns', [slowest]))[0]}."
    ]
    several = len(one.samples) > 1
    if several and (why := why_no_interval(one.marks()[MARKED[0]].low, len(one.samples))):
        said.append(f"{one.model} has no intervals ({why}).")
    said += [
        f"p{mark} of {one.model} is not marked: it takes {taken} samples per process, and one had "
        f"{min(one.samples):,} (a larger `--min-iterations` gives more)."
        for mark, taken in one.too_few().items()
    ]
    return said


def _figure(figure: Figure) -> dict[str, Any]:
    return (asdict(figure.estimate) if figure.estimate else {}) | {"kind": figure.kind}


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
