"""The figures of the self-compression article, drawn from runs of our own.

Bits and loss over training, sparsity by layer and block, and the weights of a layer in several blocks as histograms and
as masks: the four of Przybyl, "Shrinking LLMs with Self-Compression" (Imagination Technologies, 2025). Every function
takes numbers and returns a matplotlib `Figure`, 7 inches wide, drawn without pyplot and so without a display; `write`
puts figures into files, the same bytes each time. Colours are Okabe and Ito's, told apart without colour by line styles
and markers too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator
from numpy.typing import NDArray

from harness.atomic_files import replacing_files
from harness.models.export.quantised_linear import exact_levels

FORMATS = ("pdf", "svg", "png")
BLUE, VERMILLION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "0.45"
LINES = {
    "attention.qkv": ("attention, queries, keys, values (qkv)", BLUE, "-", "o"),
    "attention.proj": ("attention, output (proj)", VERMILLION, "--", "s"),
    "ffn.fc": ("feed-forward, first (fc)", GREEN, "-.", "^"),
    "ffn.out": ("feed-forward, second (out)", PURPLE, ":", "D"),
}
"""The linear layers of a block by name: how a figure calls each, its colour, line and marker."""
STYLE = matplotlib.RcParams(
    {
        "font.size": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "axes.linewidth": 0.6,
        "axes.axisbelow": True,
        "grid.color": "0.88",
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 3.5,
        "hatch.linewidth": 0.4,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # whole letters, not their outlines: text can be searched and copied
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "harness",  # else ids are drawn anew each time
    }
)


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and STYLE, whatever the user's matplotlibrc says; undone at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@_style()
def training(log: pd.DataFrame, start: tuple[str, float] | None = None) -> Figure:
    """Learned bits (left axis) and loss (right axis) over the steps of a run.

    `log` has the columns of `training.LOG`; `validation_loss` may be null. `start` names the model from which the run
    set out, with its validation loss in nats per token, drawn as a line of reference; the run saw more text than it.
    """
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.set_zorder(right.get_zorder() + 1)  # bits over the noise of the training loss
    left.patch.set_visible(False)
    window = max(1, len(log) // 50)
    smooth = log["loss"].rolling(window, center=True, min_periods=1).mean()
    checked = log.dropna(subset=["validation_loss"])
    bits, losses = log["bits"].to_numpy(), checked["validation_loss"].to_numpy()
    steps = log["step"].to_numpy()
    spaced = f", mean of {window} points" if window > 1 else ""
    right.plot(steps, smooth, color="#F0B48A", linewidth=0.7, label=f"training loss{spaced}")
    if start is not None:
        label = f"validation loss of {start[0]}, the start ({start[1]:.3f})"
        right.axhline(start[1], color="black", linestyle="--", linewidth=0.8, label=label)
    last = f" (at the end {losses[-1]:.3f})" if len(losses) else ""
    right.plot(checked["step"], losses, color=VERMILLION, marker="o", label=f"validation loss{last}", clip_on=False)
    left.plot(steps, bits, color=BLUE, linewidth=1.8, label=f"learned bits (at the end {bits[-1]:.3f})")
    frozen = frozen_at(log)
    if frozen is not None:
        left.axvline(frozen, color=GREY, linestyle=":", linewidth=1, label=f"bits frozen (by step {frozen})")
    left.set_xlabel("training step")
    left.set_ylabel("bits per weight, learned", color=BLUE)
    left.set_ylim(0, 1.08 * bits.max())
    left.set_xlim(0, steps[-1])
    right.set_ylabel("loss (nats per token)", color=VERMILLION)
    tokens = log["tokens"].iloc[-1] / steps[-1] / 1e6
    above = left.secondary_xaxis("top", functions=(lambda step: step * tokens, lambda million: million / tokens))
    above.set_xlabel("tokens seen (millions)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def frozen_at(log: pd.DataFrame) -> int | None:
    """The first logged step from which the bits stay the same to the end, or None where they never stop or start."""
    bits = log["bits"].to_numpy()
    changed = np.flatnonzero(bits != bits[-1])
    first = int(changed[-1]) + 1 if len(changed) else 0
    return int(log["step"].iloc[first]) if 0 < first < len(bits) - 1 else None


@_style()
def sparsity(layers: Sequence[Mapping[str, Any]]) -> Figure:
    """Zero weights, and rows of nothing but zeros, of each linear layer by block, in percent.

    `layers` are rows of `codes.LayerReport` named `blocks.N.LAYER`.
    """
    figure = Figure(figsize=(7, 2.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, label in zip(
        panels, ("zero_weights", "dead_rows"), ("zero weights (%)", "dead rows (% of output channels)"), strict=True
    ):
        for kind, (name, colour, line, marker) in LINES.items():
            blocks = {int(row["layer"].split(".")[1]): row[key] for row in layers if row["layer"].endswith(f".{kind}")}
            percent = [100 * share for share in blocks.values()]
            axes.plot(list(blocks), percent, color=colour, linestyle=line, marker=marker, mfc="white", label=name)
        axes.set_xlabel("block")
        axes.set_ylabel(label)
        axes.set_ylim(-3, 103)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_tick_params(labelleft=True)
        axes.grid()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@_style()
def histograms(weights: Mapping[str, NDArray[np.float32]]) -> Figure:
    """A histogram of each of `weights` [out, in] by title: above of the values, below of the integers that code them.

    Exact zeros have a bar of their own, so that the spike is seen for what it is; the axis of shares is logarithmic.
    The lower row is left out where a layer is on no grid of one step per row, as when scales are shared by
    parts of a row.
    """
    codes = {title: exact_levels(torch.from_numpy(weight)) for title, weight in weights.items()}
    rows = 2 if all(code is not None for code in codes.values()) else 1
    figure = Figure(figsize=(7, 0.7 + 1.8 * rows), layout="constrained")
    grid = figure.subplots(rows, len(weights), sharex="row", sharey=True, squeeze=False)
    reach = max(float(np.abs(weight).max()) for weight in weights.values()) or 1.0
    edges = np.linspace(-reach, reach, 62)  # an odd number of bins, one of them around 0
    lowest = min(1 / weight.size for weight in weights.values())
    for column, (title, weight) in enumerate(weights.items()):
        counts, _ = np.histogram(weight[weight != 0], edges)
        _bars(grid[0, column], (edges[:-1] + edges[1:]) / 2, counts, weight, edges[1] - edges[0])
        zero, dead = (weight == 0).mean(), (weight == 0).all(axis=1).mean()
        grid[0, column].set_title(f"{title}: {zero:.1%} zero, {dead:.1%} of rows dead", fontsize=7)
        grid[0, column].set_xlabel("quantised weight")
        code = codes[title]
        if rows == 2 and code is not None:
            values, counts = np.unique(code.levels[code.levels != 0].numpy(), return_counts=True)
            _bars(grid[1, column], values, counts, weight, 0.8)
            grid[1, column].set_xlabel("quantised weight, in steps of its row")
            grid[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid[:, 0]:
        axes.set_yscale("log")
        axes.set_ylim(100 * lowest / 2, 200)
        axes.set_ylabel("share of weights (%)")
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.minorticks_off()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _bars(axes: Axes, at: NDArray[Any], counts: NDArray[Any], weight: NDArray[np.float32], width: float) -> None:
    """Shares in percent of all of `weight`: one bar for the exact zeros, hatched, and one for each of `counts`."""
    zeros = 100 * float((weight == 0).mean())
    axes.bar([0], [zeros], width, color="white", edgecolor=VERMILLION, linewidth=0.6, hatch="//////", label="exactly 0")
    axes.bar(at, 100 * counts / weight.size, width, color=BLUE, label="not 0")
    axes.grid(axis="y")


@_style()
def masks(weights: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Which of `weights` [out, in], by title, are left: white where a weight is not 0, black where it is."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    panels = figure.subplots(1, len(weights), sharey=True, squeeze=False)[0]
    for axes, (title, weight) in zip(panels, weights.items(), strict=True):
        axes.imshow(weight != 0, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="none")
        zero, dead = (weight == 0).mean(), (weight == 0).all(axis=1).mean()
        axes.set_title(f"{title}: {zero:.1%} zero, {dead:.1%} of rows dead", fontsize=7)
        axes.set_xlabel("input channel")
    panels[0].set_ylabel("output channel (white: weight kept, black: 0)")
    return figure


def write(figures: Mapping[str, Figure], folder: Path, formats: Sequence[str], source: str) -> list[Path]:
    """Write each of `figures` to `folder`/KEY.FORMAT, in every one of `formats`; returns the paths.

    `source`, the origin of the numbers, stands small below each figure and in the file's metadata. No dates: the same
    figures give the same bytes. Raises OSError where `folder` cannot be written.
    """
    names = []
    with _style(), replacing_files(folder) as scratch:
        for key, figure in figures.items():
            figure.supxlabel(source, x=0.995, ha="right", fontsize=5.5, color=GREY)
            # Laid out once: each drawing moves things by a hair, and the bytes would depend on the order of formats.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            for fmt in formats:
                for image in (image for axes in figure.axes for image in axes.images):
                    # Vector files keep every weight; a pixel of a PNG may hold several, and shows their mean.
                    image.set_interpolation("antialiased" if fmt == "png" else "none")
                undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(fmt, {})
                names.append(f"{key}.{fmt}")
                figure.savefig(scratch / names[-1], metadata={"Title": source, **undated})
    return [folder / name for name in names]
