"""How figures look in print, and how they become files: the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

from harness.report.table import plain

WIDTH = 3.3  # inches: a column of a paper in two columns
FORMATS = ("pdf", "svg", "png")
BLACK, GREY, PALE = "black", "0.4", "0.65"
# Okabe and Ito's colours, each with a dash pattern and a marker, so that it is told apart without colour too.
SERIES: tuple[tuple[str, Any, str], ...] = (
    ("#0072B2", "-", "o"),
    ("#D55E00", (0, (5, 1.5)), "s"),
    ("#009E73", (0, (5, 1.5, 1, 1.5)), "^"),
    ("#CC79A7", (0, (1, 1)), "D"),
    ("#56B4E9", (0, (3, 1, 1, 1, 1, 1)), "v"),
    ("#E69F00", (0, (9, 2)), "P"),
)
STYLE = matplotlib.RcParams(
    {
        "font.size": 7,
        "axes.labelsize": 7,
        "axes.titlesize": 7,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "text.parse_math": False,  # a model may be called $x$
        "figure.dpi": 200,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,  # whole letters, not their outlines: text can be searched and copied
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "harness",  # else ids are drawn anew each time
    }
)
_LONGEST = 30  # characters of a name
_WIDE = 2  # from this factor on an axis of ratios is logarithmic
# Ticks of a decade, for logarithmic axes that span up to a factor: two of them are always in sight.
_STEPS = (
    (5, (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)),
    (12, (1.0, 2.0, 3.0, 5.0)),
    (80, (1.0, 2.0, 5.0)),
    (float("inf"), (1.0,)),
)
_AIR = 0.12  # of the span of an axis, at either end


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's own defaults and STYLE, whatever the user's matplotlibrc says; undone at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def finish(figure: Figure, origin: str) -> None:
    """Write `origin` small below the figure and lay it out, for the last time: each drawing would move things by a
    hair.
    """
    figure.supxlabel(shown([origin], longest=90)[0], x=0.99, ha="right", fontsize=5, color=GREY)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def file_bytes(figure: Figure, fmt: str, caption: Sequence[str]) -> bytes:
    """The figure as a file of one of FORMATS, with `caption` in its metadata and no date: the same figure gives the
    same bytes.
    """
    title, words = caption[0], "\n".join(caption[1:])
    metadata = {
        "pdf": {"Title": title, "Subject": words, "CreationDate": None},
        "svg": {"Title": title, "Description": words, "Date": None},
        "png": {"Title": title, "Description": words},
    }[fmt]
    file = io.BytesIO()
    with drawing():
        figure.savefig(file, format=fmt, metadata=metadata)
    return file.getvalue()


def fit(axes: Axes, which: Literal["x", "y"], low: float, high: float, *, ratios: bool) -> None:
    """Make an axis hold `low` to `high` and some air, logarithmic where `ratios` matter and they span a factor of two.

    Ticks are plain numbers, two at least.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if ratios and low > 0 and high / low >= _WIDE:
        factor = high / low
        limits = (low / factor**_AIR, high * factor**_AIR)
        axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
        steps = next(steps for most, steps in _STEPS if factor < most)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_minor_locator(NullLocator() if len(steps) > 1 else LogLocator(subs="auto"))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        air = _AIR * (high - low) or 0.05 * abs(high) or 1.0
        axes.set(**{f"{which}lim": (low - air, high + air)})
        axis.set_major_locator(MaxNLocator(5))
        plain_numbers = ScalarFormatter(useOffset=False)
        plain_numbers.set_scientific(False)
        axis.set_major_formatter(plain_numbers)


def shown(names: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """`names` as a figure can show them: what cannot be printed, or is not in the font, written out, and the middle of
    a long one left out. Different names stay different.
    """
    font = get_font(findfont("DejaVu Sans"))
    written = [
        "".join(c if font.get_char_index(ord(c)) else c.encode("unicode_escape").decode() for c in plain(name))
        for name in names
    ]
    short = [text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 :]}" for text in written]
    return [f"{number} {text}" if short.count(text) > 1 else text for number, text in enumerate(short, 1)]
