"""The drawing of latencies: what share of the samples is faster, and below it every process by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from harness.analysis.numbers import scale
from harness.errors import UsageError
from harness.report.figures.latencies import MARKED, SHARES, Latencies
from harness.report.figures.panels import Panel, origin
from harness.report.figures.style import SERIES, WIDTH, drawing, finish, fit, shown

_ROW = 0.15  # inches for the processes of a model
# Inches: about how wide the axes are, what is free to their left, and a letter.
_ACROSS, _MARGIN, _LETTER = WIDTH - 0.55, 0.4, 0.06


@drawing()
def draw(panels: Sequence[Panel], distributions: Sequence[Sequence[Latencies]], label: str) -> Figure:
    """The latencies of each panel, panels below one another; one column wide.

    Raises UsageError for more models in a panel than there are looks to tell them apart.
    """
    if (most := max(map(len, distributions))) > len(SERIES):
        raise UsageError(
            f"{most} models have latencies, and a figure can tell {len(SERIES)} apart.", "Name those to draw."
        )
    heights = [height for latencies in distributions for height in (1.7, 0.1 + _ROW * len(latencies))]
    figure = Figure(figsize=(WIDTH, 0.5 * len(panels) + 0.2 + sum(heights)), layout="constrained")
    frames = figure.subplots(len(heights), 1, height_ratios=heights).reshape(-1, 2)
    for (above, below), panel, latencies in zip(frames, panels, distributions, strict=True):
        above.set_title(shown([panel.title], longest=60)[0], loc="left")
        divisor, unit = scale("ns", [latency.at(50)[0] for latency in latencies])
        kinds = {latency.kind for latency in latencies}
        kind = f", {latencies[0].kind}" if len(kinds) == 1 and kinds != {"measured"} else ""
        below.set_xlabel(f"{label}{kind} ({unit})")
        for axes in (above, below):
            slow = max(float(latency.at(MARKED[-1]).max()) for latency in latencies)
            fast = min(float(latency.at(0).min()) for latency in latencies)
            fit(axes, "x", fast / divisor, slow / divisor, ratios=True)
        _curves(above, latencies, divisor)
        _processes(below, latencies, divisor)
    finish(figure, origin(panels))
    return figure


def _curves(axes: Axes, distributions: Sequence[Latencies], divisor: float) -> None:
    """The shares of each process thin, their mean over the processes thick, percentiles with their intervals."""
    axes.set_ylim(0, 103)
    axes.set_yticks([0, *MARKED], [f"{share} %" for share in (0, *MARKED)])
    axes.set_ylabel("share of samples")
    axes.tick_params(labelbottom=False)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    for latencies, (color, dashes, marker) in zip(distributions, SERIES, strict=False):
        faint = max(0.05, min(0.6, 3 / len(latencies.curves)))  # of hundreds of processes the density is seen
        axes.plot(latencies.curves.T / divisor, SHARES, color=color, linewidth=0.3, alpha=faint, zorder=1)
        axes.plot(latencies.means() / divisor, SHARES, color=color, linestyle=dashes)
        for mark, estimate in latencies.marks().items():
            low, high = (end if end is not None else estimate.value for end in (estimate.low, estimate.high))
            axes.errorbar(
                estimate.value / divisor,
                mark,
                xerr=np.array([[estimate.value - low], [high - estimate.value]]) / divisor,
                color=color,
                marker=marker,
                markersize=3.5,
                elinewidth=0.8,
                capsize=1.5,
                capthick=0.8,
            )


def _processes(axes: Axes, distributions: Sequence[Latencies], divisor: float) -> None:
    """A row a model, below its curve: a tick at the p50 of every process, and the name where there is room."""
    axes.set_ylim(len(distributions) - 0.4, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title("p50 of each process", loc="left", fontsize=6.5, pad=1)
    several = len({latencies.kind for latencies in distributions}) > 1
    models = [latencies.model for latencies in distributions]
    for row, (latencies, (color, _, marker)) in enumerate(zip(distributions, SERIES, strict=False)):
        values = latencies.at(50) / divisor
        axes.plot(values, np.full(len(values), row), "|", color=color, markersize=7, markeredgewidth=0.7)
        ends = np.array([[values.min(), row], [values.max(), row]])
        left, right = axes.transAxes.inverted().transform(axes.transData.transform(ends))[:, 0]
        rooms = (left * _ACROSS + _MARGIN, (1 - right) * _ACROSS)
        side, end, align = (1, ends[1, 0], "left") if rooms[1] > rooms[0] else (-1, ends[0, 0], "right")
        shift = ScaledTranslation(side * 6.5 / 72, 0, axes.figure.dpi_scale_trans)
        axes.plot(end, row, marker, color=color, markersize=3.5, transform=axes.transData + shift)
        kind = f" ({latencies.kind})" if several and latencies.kind != "measured" else ""
        name = shown(models, longest=max(6, int((max(rooms) - 0.2) / _LETTER) - len(kind)))[row]
        text = axes.text(end, row, name + kind, transform=axes.transData + shift + shift, ha=align, va="center")
        text.set_in_layout(False)  # a long name must not push the axes together
