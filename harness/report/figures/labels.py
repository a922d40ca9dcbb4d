"""Names written beside what they name, where they hide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

# Left, bottom, right, top of rectangles in pixels, [..., 4].
Boxes = NDArray[np.float64]

# The side of its place on which a name may stand, from best to worst; -1 is left or below, 1 right or above.
_SIDES = ((1, 0), (1, 1), (-1, 0), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
_DISTANCES = (4, 8, 14, 22, 32)  # points
_FAR = 4.0  # square pixels that may rather be hidden than go a point farther
_SIZE = 6.5  # points
_LEADER = 10  # points; from here on a line leads from the name to its place


@dataclass(frozen=True)
class Label:
    """`text` for what is at `where` (data coordinates)."""

    text: str
    where: tuple[float, float]
    color: str


def place(axes: Axes, labels: Sequence[Label], obstacles: Boxes) -> None:
    """Write each of `labels` where it hides none of `obstacles` and of the others, and stays within the axes.

    The figure must have been laid out. No name is left out: what fits nowhere stands where it hides least.
    """
    frame, point = np.array(axes.bbox.extents), axes.figure.dpi / 72
    taken = obstacles
    for label in sorted(labels, key=lambda label: -len(label.text)):  # long names are the hardest to fit
        trial = axes.text(0, 0, label.text, fontsize=_SIZE)
        size = np.array(trial.get_window_extent().size)
        trial.remove()
        anchor = axes.transData.transform(label.where)
        candidates = [
            (distance, anchor + distance * point * np.array(side) / np.hypot(*side) + size / 2 * side)
            for distance in _DISTANCES
            for side in _SIDES
        ]
        costs = [
            _cost(np.concatenate([middle - size / 2, middle + size / 2]), frame, taken) + _FAR * distance
            for distance, middle in candidates
        ]
        distance, middle = candidates[int(np.argmin(costs))]
        leader = {"arrowstyle": "-", "linewidth": 0.4, "color": label.color, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            label.text,
            label.where,
            ((middle - anchor) / point).tolist(),
            textcoords="offset points",
            color=label.color,
            ha="center",
            va="center",
            fontsize=_SIZE,
            arrowprops=leader if distance >= _LEADER else None,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=2,
        )
        taken = np.vstack([taken, np.concatenate([middle - size / 2, middle + size / 2])])


def _cost(box: Boxes, frame: Boxes, taken: Boxes) -> float:
    """How much of `taken` a name in `box` would hide, and how much of it would stand outside `frame`."""
    outside = float(np.prod(box[2:] - box[:2])) - float(_shared(box, frame))
    return float(_shared(box, taken).sum()) + 10 * outside


def _shared(box: Boxes, others: Boxes) -> Boxes:
    """The area in square pixels that `box` [4] shares with each of `others` [..., 4]."""
    width = np.minimum(box[2], others[..., 2]) - np.maximum(box[0], others[..., 0])
    height = np.minimum(box[3], others[..., 3]) - np.maximum(box[1], others[..., 1])
    shared: Boxes = np.maximum(width, 0) * np.maximum(height, 0)
    return shared
