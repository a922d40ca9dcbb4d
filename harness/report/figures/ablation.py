"""The drawing of an ablation: what each step does to the latency of a token, and to the bytes that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from harness.analysis.numbers import scale
from harness.report.figures.style import GREY, SERIES, WIDTH, drawing, finish, fit, shown
from harness.statistics.summary import Estimate

_ROW = 0.19  # inches for a step


@dataclass(frozen=True)
class Step:
    """A row of the ablation: what a token waits for reads and how long it takes in all, in ns (None where no process
    counts), and bytes asked of flash for it.
    """

    name: str
    io: Estimate | None
    token: Estimate | None
    flash_bytes: float


@drawing()
def draw(panels: Sequence[tuple[str, Sequence[Step]]], origin: str) -> Figure:
    """The steps of each titled panel, the first one on top, latency beside bytes; one column wide."""
    heights = [0.5 + _ROW * len(steps) for _, steps in panels]
    figure = Figure(figsize=(WIDTH, 0.3 + 0.2 * len(panels) + sum(heights)), layout="constrained")
    frames = figure.subplots(len(panels), 2, sharey="row", squeeze=False, height_ratios=heights, width_ratios=(3, 2))
    for (left, right), (title, steps) in zip(frames, panels, strict=True):
        left.set_title(shown([title], longest=60)[0], loc="left")
        left.set_ylim(len(steps) - 0.5, -0.5)
        left.set_yticks(range(len(steps)), shown([step.name for step in steps]))
        for axes in (left, right):
            axes.grid(axis="x", color="0.9", linewidth=0.5)
        _latencies(left, steps)
        _bytes(right, steps)
    handles, labels = frames[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=6.5, borderaxespad=0)
    finish(figure, origin)
    return figure


def _latencies(axes: Axes, steps: Sequence[Step]) -> None:
    """Waiting for reads filled, the whole token hollow, with their intervals."""
    ends = [
        end for step in steps for estimate in (step.io, step.token) if estimate is not None for end in _ends(estimate)
    ]
    divisor, unit = scale("ns", ends)
    axes.set_xlabel(f"latency per token ({unit})")
    for row, step in enumerate(steps):
        if step.io is None and step.token is None:
            axes.text(
                0.5, row, "not measured", transform=axes.get_yaxis_transform(), ha="center", va="center", color=GREY
            )
    if not ends:
        return
    fit(axes, "x", min(ends) / divisor, max(ends) / divisor, ratios=True)
    for label, (color, _, marker), face, values in (
        ("whole token", SERIES[1], "white", [step.token for step in steps]),
        ("waiting for flash", SERIES[0], None, [step.io for step in steps]),
    ):
        rows = [(row, value) for row, value in enumerate(values) if value is not None]
        middles = np.array([value.value for _, value in rows])
        bounds = np.array([_ends(value) for _, value in rows]).reshape(-1, 2)
        axes.errorbar(
            middles / divisor,
            [row for row, _ in rows],
            xerr=np.abs(bounds.T - middles) / divisor,
            fmt=marker,
            color=color,
            markerfacecolor=face or color,
            elinewidth=0.8,
            capsize=1.5,
            capthick=0.8,
            label=label,
            zorder=3,
        )


def _bytes(axes: Axes, steps: Sequence[Step]) -> None:
    """Exact, so without intervals; a step that reads nothing has no point on an axis of ratios."""
    values = [step.flash_bytes for step in steps if step.flash_bytes > 0]
    divisor, unit = scale("bytes", values)
    axes.set_xlabel(f"flash per token ({unit})")
    axes.tick_params(labelleft=False)
    if values:
        fit(axes, "x", min(values) / divisor, max(values) / divisor, ratios=True)
        if max(values) >= 10 * min(values):  # the axis is short: a tick a decade
            axes.xaxis.set_major_locator(LogLocator())
        color, _, marker = SERIES[2]
        rows = [row for row, step in enumerate(steps) if step.flash_bytes > 0]
        axes.plot(np.array(values) / divisor, rows, marker, color=color)


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Its interval; the value itself where it has none."""
    low, high = estimate.low, estimate.high
    return (estimate.value, estimate.value) if low is None or high is None else (low, high)
