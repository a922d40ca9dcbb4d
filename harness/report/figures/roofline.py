"""The drawing of a roofline: how near each model comes to what the device can do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from harness.report.figures.intensity import PHASES, Dot, Roof
from harness.report.figures.labels import Label, place
from harness.report.figures.panels import Panel, origin
from harness.report.figures.style import BLACK, GREY, WIDTH, drawing, finish, shown

_AIR = 2.5  # a factor, on either side of what is drawn
_SHAPES = {"prefill": "o", "decode": "^", "steady": "s"}


@drawing()
def draw(panels: Sequence[Panel], roofs: Sequence[tuple[Roof, Sequence[Dot]]]) -> Figure:
    """A roof a panel, filled dots for prefill and hollow ones for a decoded token, panels below one another; one
    column wide.
    """
    figure = Figure(figsize=(WIDTH, 0.2 + 2.3 * len(panels)), layout="constrained")
    frames = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, panel, (roof, dots) in zip(frames, panels, roofs, strict=True):
        axes.set_title(shown([panel.title], longest=60)[0], loc="left")
        _roof(axes, roof, dots)
    finish(figure, origin(panels))
    for axes, (roof, dots) in zip(frames, roofs, strict=True):
        _dots(axes, roof, dots)
    return figure


def _roof(axes: Axes, roof: Roof, dots: Sequence[Dot]) -> None:
    """Axes that hold the dots and the ridge, and the two bounds that meet there."""
    across = [roof.ridge, *(dot.macs_per_byte for dot in dots)]
    upwards = [roof.macs_per_s, *(dot.macs_per_s for dot in dots)]
    low, high = min(across) / _AIR, max(across) * _AIR
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(min(upwards) / _AIR, max(upwards) * _AIR))
    kinds = {dot.kind for dot in dots}
    kind = f", {kinds.pop()}" if len(kinds) == 1 and kinds != {"measured"} else ""
    axes.set(xlabel=f"MACs a byte of {roof.memory}{kind}", ylabel=f"MACs per second{kind}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: _engineering(value)))
        axis.set_minor_formatter(NullFormatter())
    corners = np.array([low, roof.ridge, high])
    axes.plot(corners, _bound(roof, corners), color=GREY, linewidth=0.9, zorder=1)


def _dots(axes: Axes, roof: Roof, dots: Sequence[Dot]) -> None:
    for dot in dots:
        axes.plot(
            dot.macs_per_byte,
            dot.macs_per_s,
            _SHAPES[dot.phase],
            color=BLACK,
            markerfacecolor="white" if dot.phase == "decode" else BLACK,
            markeredgewidth=0.8,
            zorder=3,
        )
    names = [f"{dot.model} {PHASES[dot.phase]}".strip() for dot in dots]
    labels = [
        Label(text, (dot.macs_per_byte, dot.macs_per_s), GREY if dot.phase == "decode" else BLACK)
        for text, dot in zip(shown(names), dots, strict=True)
    ]
    _name(axes, f"array, {_engineering(roof.macs_per_s)}MAC/s", (axes.get_xlim()[1], roof.macs_per_s), (0, 2))
    speed = roof.bytes_per_s[roof.memory]
    middle = np.sqrt(axes.get_xlim()[0] * roof.ridge)
    _name(axes, f"{roof.memory}, {_engineering(speed)}B/s", (middle, middle * speed), (-4, 2))
    at = axes.transData.transform([(dot.macs_per_byte, dot.macs_per_s) for dot in dots])
    line = np.geomspace(*axes.get_xlim(), 100)
    roofs = axes.transData.transform(np.stack([line, _bound(roof, line)], axis=1))
    words = np.array([text.get_window_extent().extents for text in axes.texts])
    place(axes, labels, np.vstack([np.hstack([at - 8, at + 8]), np.hstack([roofs - 6, roofs + 6]), words]))


def _name(axes: Axes, text: str, where: tuple[float, float], away: tuple[float, float]) -> None:
    """What bounds, above the end of its line or left of it."""
    axes.annotate(
        text, where, away, textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=GREY, zorder=2
    )


def _bound(roof: Roof, macs_per_byte: NDArray[np.float64]) -> NDArray[np.float64]:
    bound: NDArray[np.float64] = np.minimum(roof.macs_per_s, macs_per_byte * roof.bytes_per_s[roof.memory])
    return bound


def _engineering(value: float) -> str:
    """`250 M`, `1.5 G`: a prefix of SI, and a space where a unit or nothing follows."""
    steps = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    divisor, prefix = next(((divisor, prefix) for divisor, prefix in steps if value >= divisor * 0.9995), (1.0, ""))
    return f"{value / divisor:g} {prefix}"
