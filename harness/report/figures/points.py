"""Models as points of quality against cost, and which of them are beaten by others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.analysis.comparison import compare_tables
from harness.analysis.figures import Figure, Versus
from harness.analysis.grouping import run_records
from harness.analysis.peers import Identity, identity_of
from harness.errors import NothingComparable, UsageError
from harness.metrics import CATALOGUE, Metric
from harness.report.figures.front import Pair, beats, is_no_worse
from harness.report.figures.panels import Panel

QUALITIES = tuple(metric for metric in CATALOGUE if metric.section == "Quality" and metric.better)
COSTS = tuple(metric for metric in CATALOGUE if metric.section != "Quality" and metric.better)
# What is drawn where nothing is asked for: the first of these that was measured, else the first metric that was.
_USUAL = tuple(metric.name for metric in CATALOGUE if metric.paper == "both" or (metric in QUALITIES and metric.paper))

MARKS = (
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle"),
    ("D", "diamond"),
    ("v", "triangle on its tip"),
    ("P", "plus"),
    ("X", "cross"),
    ("*", "star"),
)
"""Marks of groups, as matplotlib calls them and as people do."""

MANY = 10
"""Of more points only those that count have names beside them."""
_REACH = 2.0  # times the distance from the best to the worst of the better three quarters
# front: no other is as good in both and better in one. unresolved: another is by its figures, but the intervals do not
# tell them apart. dominated: they do.
Standing = Literal["front", "unresolved", "dominated"]


@dataclass(frozen=True)
class Point:
    """A model that has both figures, each in the unit of its metric, and the models that beat it by their figures.
    Points of one `group` have one mark; '' where all have the same.
    """

    model: str
    cost: Figure
    quality: Figure
    standing: Standing
    beaten_by: tuple[str, ...]
    group: str = ""

    @property
    def kinds(self) -> tuple[str, str]:
        """How the two figures were obtained. Points of different kinds are not set against each other."""
        return self.cost.kind, self.quality.kind


def choose(name: str | None, among: Sequence[Metric], panels: Sequence[Panel]) -> Metric:
    """The metric called `name`, or the usual one of those that were measured in `panels`.

    Raises UsageError if `name` is none of `among`, NothingComparable if nobody measured it.
    """
    names = ", ".join(metric.name for metric in among)
    if name is not None and name not in names.split(", "):
        raise UsageError(f"{name!r} is not a metric of this axis.", f"Choose one of: {names}.")
    rows = [
        row for panel in panels for row in panel.comparison.rows if any(candidate.estimate for candidate in row.figures)
    ]
    measured = {row.metric.name: row.metric for row in rows}
    usual = [
        candidate
        for candidate in (*_USUAL, *names.split(", "))
        if candidate in measured and measured[candidate] in among
    ]
    if name in measured or (name is None and usual):
        return measured[name or usual[0]]
    raise NothingComparable(
        f"Nobody measured {name or f'any of {names}'} here.", f"Measured here: {', '.join(measured) or 'nothing'}."
    )


def points_of(
    panel: Panel, cost: Metric, quality: Metric, marks: str | None = None
) -> tuple[list[Point], dict[str, str]]:
    """The points of a panel in the order of its models, and for every model that is none the reason. `marks` is the one
    of `harness.analysis.parts.ROW_PARTS` whose values are told apart by marks, None for none.
    """
    groups = _groups(panel, marks)
    pairs, absent = _pairs(panel, cost, quality)
    identities = _identities(panel)
    for label in [label for label in pairs if identities[label].yardstick]:
        del pairs[label]
        absent[label] = "it is a yardstick, and nothing to choose"
    more = (cost.better == "higher", quality.better == "higher")
    points = []
    for label, figures in pairs.items():
        peers = {name: rival for name, rival in pairs.items() if [f.kind for f in rival] == [f.kind for f in figures]}
        rivals = [name for name, rival in peers.items() if beats(_values(rival), _values(figures), more)]
        versus = _against(panel, label) if rivals else {}
        certain = any(
            all(
                is_no_worse(metric, own, other, versus.get((metric.name, name)))
                for metric, own, other in zip((cost, quality), figures, pairs[name], strict=True)
            )
            for name in rivals
        )
        standing: Standing = "dominated" if certain else "unresolved" if rivals else "front"
        points.append(Point(label, *figures, standing, tuple(rivals), groups.get(label, "")))
    return points, absent


def groups_of(points: Iterable[Point]) -> list[str]:
    """The groups of points in the order in which they are met; none where all have the same mark."""
    return [group for group in dict.fromkeys(point.group for point in points) if group]


def drawable(
    panels: list[tuple[Panel, list[Point], dict[str, str]]],
) -> list[tuple[Panel, list[Point], dict[str, str]]]:
    """The panels that have a point. Raises NothingComparable where none has, with the reasons."""
    if with_points := [drawn for drawn in panels if drawn[1]]:
        return with_points
    reasons = dict.fromkeys(f"{model}: {reason}" for _, _, absent in panels for model, reason in absent.items())
    raise NothingComparable(
        f"No model has both figures ({'; '.join(reasons)}).", "Choose other metrics with --cost and --quality."
    )


def _groups(panel: Panel, marks: str | None) -> dict[str, str]:
    """The group of each model, by its label."""
    if marks is None:
        return {}
    return {label: identity.words([marks]) for label, identity in _identities(panel).items()}


def _identities(panel: Panel) -> dict[str, Identity]:
    runs = run_records(panel.tables.runs)
    return {model.label: identity_of(model, runs) for model in panel.comparison.models}


def _pairs(panel: Panel, cost: Metric, quality: Metric) -> tuple[dict[str, tuple[Figure, Figure]], dict[str, str]]:
    """Cost and quality of every model that has both, and why the others have not."""
    rows = {row.metric.name: row.figures for row in panel.comparison.rows}
    nothing = (Figure(None),) * len(panel.comparison.models)
    pairs, absent = {}, {}
    for model, x, y in zip(
        panel.comparison.models, rows.get(cost.name, nothing), rows.get(quality.name, nothing), strict=True
    ):
        if x.estimate and y.estimate:
            pairs[model.label] = (x, y)
        else:
            missing = [(metric, figure) for metric, figure in ((cost, x), (quality, y)) if not figure.estimate]
            absent[model.label] = "; ".join(
                f"no {metric.label} ({figure.reason or 'not measured'})" for metric, figure in missing
            )
    return pairs, absent


def _values(figures: tuple[Figure, Figure]) -> Pair:
    cost, quality = (figure.estimate for figure in figures)
    assert cost
    assert quality
    return cost.value, quality.value


def _against(panel: Panel, label: str) -> dict[tuple[str, str], Versus | None]:
    """Every model against that of `label`, by metric and model."""
    (comparison,) = compare_tables(panel.tables, baseline=label, every_metric=True, allow_different=True)
    return {
        (row.metric.name, model.label): versus
        for row in comparison.rows
        for model, versus in zip(comparison.models, row.versus, strict=True)
    }


def beyond(points: Sequence[Point], quality: Metric) -> tuple[float, list[Point]] | None:
    """Where an axis of quality ends for the many models that are nearly alike to be told apart, and the models behind
    its end, which are all dominated; None where the axis has room for all.
    """
    values = np.array([_value(point) for point in points])
    if len(points) <= MANY:
        return None
    sign = 1.0 if quality.better == "lower" else -1.0
    best, usual = np.min(sign * values), np.percentile(sign * values, 75)
    end = best + _REACH * (usual - best)
    far = [point for point, value in zip(points, sign * values, strict=True) if value > end]
    if not far or np.max(sign * values) <= best + 2 * _REACH * (usual - best):
        return None
    return (float(sign * end), far) if all(point.standing == "dominated" for point in far) else None


def _value(point: Point) -> float:
    assert point.quality.estimate is not None
    return point.quality.estimate.value
