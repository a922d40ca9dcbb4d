"""The drawing of quality against cost: a point a model, its intervals, and the front of those that nobody beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from harness.analysis.figures import Figure as Value
from harness.analysis.numbers import scale
from harness.metrics import Metric
from harness.report.figures.front import staircase
from harness.report.figures.labels import Boxes, Label, place
from harness.report.figures.panels import Panel, origin
from harness.report.figures.points import MANY, MARKS, Point, Standing, beyond, groups_of
from harness.report.figures.style import BLACK, GREY, PALE, WIDTH, drawing, finish, fit, shown

# Value, low and high of every point, [points, 3], in the unit of the axis.
Spans = NDArray[np.float64]

# How a point looks and its name: colour, filling, and the words behind the name.
_LOOKS: dict[Standing, tuple[str, str, str]] = {
    "front": (BLACK, BLACK, ""),
    "unresolved": (BLACK, "white", " n.s."),
    "dominated": (PALE, PALE, ""),
}
# The shape of a point, hollow, of which one figure was not measured here.
_SHAPES = {"recorded": "s", "estimated": "^", "emulated": "D"}
_MOST_NAMES = 8
_SHORT = 16  # letters of a name, of which three stand side by side
_CORNERS = {(False, False): "↙ better", (False, True): "↖ better", (True, False): "better ↘", (True, True): "better ↗"}


@drawing()
def draw(panels: Sequence[Panel], points: Sequence[Sequence[Point]], cost: Metric, quality: Metric) -> Figure:
    """The points of each panel (one at least), quality upwards, panels below one another; one column wide."""
    groups = groups_of(point for own_points in points for point in own_points)
    figure = Figure(figsize=(WIDTH, 0.2 + 2.3 * len(panels) + (0.2 if groups else 0)), layout="constrained")
    frames = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    spans, far = [], list[list[Point]]()
    for axes, panel, own_points in zip(frames, panels, points, strict=True):
        axes.set_title(shown([panel.title], longest=60)[0], loc="left")
        xs = _fit(axes, "x", cost, [point.cost for point in own_points])
        end = beyond(own_points, quality)
        far.append([] if end is None else end[1])
        ys = _fit(axes, "y", quality, [point.quality for point in own_points], None if end is None else end[0])
        spans.append((xs, ys))
    marks = {group: MARKS[number % len(MARKS)][0] for number, group in enumerate(groups)}
    if groups:
        handles = [Line2D([], [], color=BLACK, linestyle="", marker=mark) for mark in marks.values()]
        names = shown(groups)
        columns = min(len(groups), 3 if max(map(len, names)) <= _SHORT else 2)
        figure.legend(
            handles, names, loc="outside upper center", ncols=columns, frameon=False, fontsize=6, columnspacing=1.0
        )
    finish(figure, origin(panels))
    for axes, own_points, (xs, ys), behind in zip(frames, points, spans, far, strict=True):
        lines = _lines(axes, own_points, (xs, ys), (cost.better == "higher", quality.better == "higher"))
        _points(axes, own_points, xs, ys, marks)
        for point, x, y in zip(own_points, xs[:, 0], ys[:, 0], strict=True):
            if point in behind:
                up = quality.better == "lower"
                where = (0, 7 if up else -7)
                axes.annotate(
                    "↑" if up else "↓", (x, y), where, textcoords="offset points", ha="center", va="center", color=PALE
                )
        texts = _names(own_points, cost, quality)
        named = _named(own_points)
        labels = [
            Label(text + _LOOKS[point.standing][2], (x, y), GREY if point.standing == "dominated" else BLACK)
            for text, point, x, y in zip(texts, own_points, xs[:, 0], ys[:, 0], strict=True)
            if point.standing in named
        ]
        place(axes, labels, _obstacles(axes, xs, ys, lines))
    return figure


def _named(points: Sequence[Point]) -> set[Standing]:
    """Of many points there is room for the names of those that count, and of very many for the front alone; the caption
    has the others.
    """
    if len(points) <= MANY:
        return set(_LOOKS)
    count = sum(point.standing != "dominated" for point in points)
    return {"front", "unresolved"} if count <= _MOST_NAMES else {"front"}


def _fit(
    axes: Axes, which: Literal["x", "y"], metric: Metric, values: Sequence[Value], end: float | None = None
) -> Spans:
    """Scale, limits and name of an axis for `values`, each of which has an estimate; what is worse than `end` is put
    there.
    """
    estimates = [value.estimate for value in values if value.estimate]
    divisor, unit = scale(metric.unit, [estimate.value for estimate in estimates])
    spans = np.array(
        [
            (
                estimate.value,
                estimate.value if estimate.low is None else estimate.low,
                estimate.value if estimate.high is None else estimate.high,
            )
            for estimate in estimates
        ]
    )
    if end is not None:
        spans = np.minimum(spans, end) if metric.better == "lower" else np.maximum(spans, end)
    spans /= divisor
    fit(axes, which, spans.min(), spans.max(), ratios=metric.compare == "ratio")
    kind = f", {values[0].kind}" if len({value.kind for value in values}) == 1 and values[0].kind != "measured" else ""
    axes.set(**{f"{which}label": f"{metric.label}{kind}" + (f" ({unit})" if unit else "")})
    return spans


def _lines(axes: Axes, points: Sequence[Point], spans: tuple[Spans, Spans], more: tuple[bool, bool]) -> list[Boxes]:
    """Draw a front for each way in which the figures of several points were obtained, and say which corner is good.

    Returns the straight parts of the fronts, [parts, 4] each, in data coordinates.
    """
    limits = (axes.get_xlim(), axes.get_ylim())
    worst = (limits[0][0 if more[0] else 1], limits[1][0 if more[1] else 1])
    parts = []
    for kinds in dict.fromkeys(point.kinds for point in points):
        alike = [
            (point.standing, (float(x), float(y)))
            for point, x, y in zip(points, spans[0][:, 0], spans[1][:, 0], strict=True)
            if point.kinds == kinds
        ]
        if len(alike) < 2:
            continue
        front = [at for standing, at in alike if standing == "front"]
        corners = np.array(staircase(front, more[0], worst))
        style = "-" if set(kinds) == {"measured"} else "--"
        axes.plot(corners[:, 0], corners[:, 1], style, color=GREY, linewidth=0.7, zorder=1)
        parts.append(np.hstack([corners[:-1], corners[1:]]))
    axes.text(
        0.985 if more[0] else 0.015,
        0.975 if more[1] else 0.025,
        _CORNERS[more],
        transform=axes.transAxes,
        ha="right" if more[0] else "left",
        va="top" if more[1] else "bottom",
        color=GREY,
    )
    return parts


def _points(axes: Axes, points: Sequence[Point], xs: Spans, ys: Spans, marks: Mapping[str, str]) -> None:
    for point, x, y in zip(points, xs, ys, strict=True):
        color, filling, _ = _LOOKS[point.standing]
        other = [kind for kind in point.kinds if kind != "measured"]
        axes.errorbar(
            x[0],
            y[0],
            xerr=[[x[0] - x[1]], [x[2] - x[0]]],
            yerr=[[y[0] - y[1]], [y[2] - y[0]]],
            color=color,
            elinewidth=0.8,
            capsize=1.5,
            capthick=0.8,
            marker=marks.get(point.group) or (_SHAPES.get(other[0], "X") if other else "o"),
            markerfacecolor="white" if other else filling,
            markeredgewidth=0.8,
            zorder=3,
        )


def _names(points: Sequence[Point], cost: Metric, quality: Metric) -> list[str]:
    """The text beside each point: the model, and which of its figures was not measured where others were."""
    texts = shown([point.model for point in points])
    for axis, metric in enumerate((cost, quality)):
        kinds = [point.kinds[axis] for point in points]
        if len(set(kinds)) > 1:
            marks = [f" ({kind} {metric.label})" if kind != "measured" else "" for kind in kinds]
            texts = [text + mark for text, mark in zip(texts, marks, strict=True)]
    return texts


def _obstacles(axes: Axes, xs: Spans, ys: Spans, parts: Sequence[Boxes]) -> Boxes:
    """What no name should hide, in pixels: markers, intervals, fronts and the word in the corner."""
    boxes = [np.stack([xs[:, 1], ys[:, 0], xs[:, 2], ys[:, 0]], axis=1)]
    boxes += [np.stack([xs[:, 0], ys[:, 1], xs[:, 0], ys[:, 2]], axis=1), *parts]
    corners = axes.transData.transform(np.vstack(boxes).reshape(-1, 2)).reshape(-1, 2, 2)
    markers = np.repeat(axes.transData.transform(np.stack([xs[:, 0], ys[:, 0]], axis=1))[:, None], 2, axis=1)
    room = np.array([[-1], [1]])
    pixels = np.vstack([np.sort(corners, axis=1) + 2 * room, markers + 8 * room]).reshape(-1, 4)
    words = [text.get_window_extent().extents for text in axes.texts]
    return np.vstack([pixels, words])
