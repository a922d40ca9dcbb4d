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
from harness.report.figures.points import MARKS, Point, beyond, groups_of
from harness.report.figures.positions import Positions, growths
from harness.report.table import lines_of

Absent = Mapping[str, str]
"""Why a model is not in the figure, by its name."""

_SHAPES = {"recorded": "Squares", "estimated": "Triangles", "emulated": "Diamonds"}
_HOW = {
    "recorded": "recorded in the manifest when the model was made, not measured here",
    "estimated": "estimated, not measured",
    "emulated": "taken on an emulated device",
}


def points_caption(panels: Sequence[tuple[Panel, Sequence[Point], Absent]], cost: Metric, quality: Metric) -> list[str]:
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
    if groups := groups_of(every):
        marks = "; ".join(f"{MARKS[n % len(MARKS)][1]} {group}" for n, group in enumerate(groups))
        lines.append(f"Marks: {marks}.")
        lines += [f"Hollow: {kind} figures, {_HOW[kind]}." for kind in kinds]
    else:
        lines += [f"{_SHAPES[kind]}: {kind} figures, {_HOW[kind]}." for kind in kinds]
    for panel, points, absent in panels:
        behind = [point for point in points if point.beaten_by]
        far = beyond(points, quality)
        sentences = [f"{point.model}: {point.standing}, behind {', '.join(point.beaten_by)}." for point in behind]
        sentences += [
            f"{point.model}, {metric.label}: {reason}."
            for point in points
            for metric, figure in ((cost, point.cost), (quality, point.quality))
            if (reason := missing_interval(figure))
        ]
        if far is not None:
            listed = ", ".join(f"{point.model} ({_shown_value(point.quality, quality)})" for point in far[1])
            sentences.insert(0, f"At the end of the axis, in truth beyond it: {listed}.")
        lines += _panel(panel, sentences, absent)
    return lines_of(lines)


def _shown_value(figure: Figure, metric: Metric) -> str:
    assert figure.estimate is not None
    value = figure.estimate.value
    return quantity(value, None, None, scale(metric.unit, [value]))[0]


def latencies_caption(panels: Sequence[tuple[Panel, Sequence[Latencies], Absent]], label: str) -> list[str]:
    """The caption of a distribution, in lines."""
    kinds = dict.fromkeys(
        latencies.kind for _, distributions, _ in panels for latencies in distributions if latencies.kind in _HOW
    )
    lines = [
        f"{_capital(label)}: the share of samples that are as fast or faster.",
        "Thin: every process. Thick: the mean of their percentiles; p50, p90 and p99 are marked, with 95 % intervals "
        "over processes. Ticks below: p50 of every process. Warm-ups are left out; the axis ends at the slowest p99.",
        *(f"Latencies here were {_HOW[kind]}." for kind in kinds),
    ]
    for panel, distributions, absent in panels:
        lines += _panel(panel, [sentence for latencies in distributions for sentence in _counts(latencies)], absent)
    return lines_of(lines)


def positions_caption(panels: Sequence[tuple[Panel, Sequence[Positions], Absent]]) -> list[str]:
    """The caption of latency against position, in lines."""
    kinds = dict.fromkeys(model.kind for _, models, _ in panels for model in models if model.kind in _HOW)
    lines = [
        "Decode latency of a token, against how many tokens stand before it.",
        "Thin: the median over the queries of every process. Thick: their mean, with its 95 % interval as a band.",
        *(f"Latencies here were {_HOW[kind]}." for kind in kinds),
    ]
    for panel, models, absent in panels:
        lines += _panel(panel, growths(models), absent)
    return lines_of(lines)


def rooflines_caption(rooflines: Sequence[tuple[Panel, Roof, Sequence[Dot], Absent]]) -> list[str]:
    """The caption of a roofline, in lines."""
    kinds = dict.fromkeys(dot.kind for _, _, dots, _ in rooflines for dot in dots if dot.kind in _HOW)
    lines = [
        "Multiply-accumulates per second against those per byte moved to and from the slowest memory. Line: the "
        "most that the memory (rising) and the array (level) allow.",
        "Filled: prefill or a whole inference. Hollow: a decoded token.",
        *(f"All of this was {_HOW[kind]}." for kind in kinds),
    ]
    for panel, roof, dots, absent in rooflines:
        sentences = [
            f"{' '.join(filter(None, (dot.model, PHASES[dot.phase])))}: {dot.macs_per_s / dot.bound:.0%} of what "
            f"{'the array' if dot.macs_per_byte >= roof.ridge else roof.memory} allows."
            for dot in dots
        ]
        lines += _panel(panel, sentences, absent)
    return lines_of(lines)


def points_json(points: Sequence[Point], cost: Metric, quality: Metric) -> list[dict[str, Any]]:
    """The points in the units of their metrics."""
    return [
        {
            "model": point.model,
            cost.name: _figure(point.cost),
            quality.name: _figure(point.quality),
            **({"group": point.group} if point.group else {}),
            "standing": point.standing,
            "beaten_by": point.beaten_by,
        }
        for point in points
    ]


def latencies_json(distributions: Sequence[Latencies]) -> list[dict[str, Any]]:
    """The percentiles that are marked, of each model and of each of its processes, in ns."""
    return [
        {
            "model": latencies.model,
            "kind": latencies.kind,
            **{f"p{mark}_ns": asdict(estimate) for mark, estimate in latencies.marks().items()},
            "processes": [
                {"samples": samples, "warm_ups": warm_ups}
                | {f"p{mark}_ns": float(latencies.at(mark)[process]) for mark in latencies.marks()}
                for process, (samples, warm_ups) in enumerate(zip(latencies.samples, latencies.warm_ups, strict=True))
            ],
        }
        for latencies in distributions
    ]


def positions_json(models: Sequence[Positions]) -> list[dict[str, Any]]:
    """The mean at each position, in ns, and the growth from the first to the last."""
    return [
        {
            "model": model.model,
            "kind": model.kind,
            "positions": model.positions.tolist(),
            "decode_latency_ns": [asdict(estimate) for estimate in model.estimates()],
            "growth": model.growth(),
        }
        for model in models
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


def _panel(panel: Panel, sentences: Sequence[str], absent: Absent) -> list[str]:
    left_out = [f"Not shown: {model}: {reason}." for model, reason in absent.items()]
    title = [f"{panel.title}:"] if panel.title else []
    return [
        *title,
        *facts(panel),
        *sentences,
        *left_out,
        *without_advice(panel.comparison.notes, panel.comparison.flags),
    ]


def _counts(latencies: Latencies) -> list[str]:
    """How much a distribution rests on, and what of it cannot be seen."""
    samples = f"{_span(latencies.samples)} samples{' each' if len(latencies.samples) > 1 else ''}"
    slowest = float(latencies.curves.max())
    processes, warm_ups = plural(len(latencies.samples), "process"), _span(latencies.warm_ups)
    sentences = [
        f"{latencies.model}: {processes}, {samples}, after {warm_ups} warm-up queries; the slowest sample took "
        f"{quantity(slowest, None, None, scale('ns', [slowest]))[0]}."
    ]
    several = len(latencies.samples) > 1
    if several and (why := why_no_interval(latencies.marks()[MARKED[0]].low, len(latencies.samples))):
        sentences.append(f"{latencies.model} has no intervals ({why}).")
    sentences += [
        f"p{mark} of {latencies.model} is not marked: it takes {taken} samples per process, and one had "
        f"{min(latencies.samples):,} (a larger `--min-iterations` gives more)."
        for mark, taken in latencies.too_few().items()
    ]
    return sentences


def _figure(figure: Figure) -> dict[str, Any]:
    return (asdict(figure.estimate) if figure.estimate else {}) | {"kind": figure.kind}


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
