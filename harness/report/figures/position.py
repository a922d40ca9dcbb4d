"""The drawing of latency against position: the processes thin, their mean thick, its interval as a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from harness.analysis.numbers import scale
from harness.errors import UsageError
from harness.report.figures.panels import Panel, origin
from harness.report.figures.positions import Positions
from harness.report.figures.style import SERIES, WIDTH, drawing, finish, fit, shown


@drawing()
def draw(panels: Sequence[Panel], every: Sequence[Sequence[Positions]]) -> Figure:
    """The models of each panel, panels below one another; one column wide.

    Raises UsageError for more models in a panel than there are looks to tell them apart.
    """
    if (most := max(map(len, every))) > len(SERIES):
        raise UsageError(
            f"{most} models have latencies, and a figure can tell {len(SERIES)} apart.", "Name those to draw."
        )
    figure = Figure(figsize=(WIDTH, 0.2 + 2.2 * len(panels)), layout="constrained")
    for axes, panel, models in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, every, strict=True):
        axes.set_title(shown([panel.title], longest=60)[0], loc="left", pad=4 + 9 * ((len(models) + 1) // 2))
        estimates = [model.estimates() for model in models]
        values = np.array([estimate.value for of_model in estimates for estimate in of_model])
        divisor, unit = scale("ns", values.tolist())
        kinds = {model.kind for model in models}
        kind = f", {models[0].kind}" if len(kinds) == 1 and kinds != {"measured"} else ""
        axes.set(xlabel="tokens before the decoded one", ylabel=f"decode latency{kind} ({unit})")
        fit(axes, "y", float(values.min()) / divisor, float(values.max()) / divisor, ratios=True)
        names = shown([model.model for model in models])
        for model, of_model, name, (color, dashes, _) in zip(models, estimates, names, SERIES, strict=False):
            faint = max(0.05, min(0.5, 3 / len(model.curves)))
            axes.plot(model.positions, model.curves.T / divisor, color=color, linewidth=0.3, alpha=faint, zorder=1)
            means = np.array([estimate.value for estimate in of_model]) / divisor
            axes.plot(model.positions, means, color=color, linestyle=dashes, label=name)
            if all(estimate.low is not None and estimate.high is not None for estimate in of_model):
                ends = np.array([(estimate.low, estimate.high) for estimate in of_model], np.float64).T / divisor
                axes.fill_between(model.positions, *ends, color=color, alpha=0.15, linewidth=0)
        # Above the axes: within them it would hide a line.
        axes.legend(frameon=False, fontsize=6, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    finish(figure, origin(panels))
    return figure
