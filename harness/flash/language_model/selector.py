"""Which neurons of a layer are read for a token, decided from what enters the layer, before anything is read.

`exact` asks the up projection itself, which it keeps in DRAM as it is encoded in the file: no neuron is missed, and
what that takes of DRAM is counted. `low-rank` believes predictors (`predictor`): they are small, and what they miss is
lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import ModelError
from harness.flash.io import encoding
from harness.flash.io.encoding import Bytes, Floats
from harness.flash.io.geometry import Indices
from harness.flash.io.layout import NeuronFile
from harness.flash.language_model.predictor import Predictor

# Widened to float32 at a time.
_BLOCK_NEURONS = 1024


@dataclass(frozen=True)
class Selector:
    """`select(layer, x)` gives the neurons to read for inputs [width], ascending; `bytes` are what it keeps in DRAM."""

    select: Callable[[int, Floats], Indices]
    bytes: int


def exact(file: NeuronFile) -> Selector:
    """Those whose up row gives more than 0. Reads the up rows of `file` once, in either form, through the page cache.

    Raises ModelError for a file that cannot be read, or of which an up row is corrupted.
    """
    layers = [_up_rows(file, layer) for layer in range(len(file.shape.neurons))]
    starts = np.cumsum([0, *file.shape.neurons])

    def select(layer: int, x: Floats) -> Indices:
        rows, scales = layers[layer], file.scales[starts[layer] : starts[layer + 1], 0]
        active = []
        for first in range(0, len(rows), _BLOCK_NEURONS):
            some = slice(first, first + _BLOCK_NEURONS)
            up = encoding.decode(rows[some], scales[some], file.dtype, file.shape.width)
            active.append(first + np.flatnonzero(up @ x > 0))
        return np.concatenate(active)

    return Selector(select, sum(rows.nbytes for rows in layers))


def low_rank(predictors: Sequence[Predictor], file: NeuronFile) -> Selector:
    """Those that the predictors name. Raises ModelError for predictors of other layers than `file` has."""
    shapes = [(predictor.a.shape[0], len(predictor.bias)) for predictor in predictors]
    if shapes != [(file.shape.width, neurons) for neurons in file.shape.neurons]:
        raise ModelError(
            f"The predictors are of layers of {[neurons for _, neurons in shapes]} neurons, {file.path} has "
            f"{list(file.shape.neurons)}.",
            "Build the model again with `harness flash build`.",
        )
    taken = sum(part.nbytes for predictor in predictors for part in (predictor.a, predictor.b, predictor.bias))
    return Selector(lambda layer, x: predictors[layer].active(x), taken)


def tallied(chooser: Selector, truth: Selector, tally: Counter[str]) -> Selector:
    """`chooser`, of which `tally` counts how its choices stand to those of `truth`: neurons active, predicted, missed,
    and predicted in vain (`false_alarms`).
    """

    def select(layer: int, x: Floats) -> Indices:
        predicted, active = chooser.select(layer, x), truth.select(layer, x)
        hit = len(np.intersect1d(predicted, active, assume_unique=True))
        tally.update(
            active=len(active), predicted=len(predicted), missed=len(active) - hit, false_alarms=len(predicted) - hit
        )
        return predicted

    return Selector(select, chooser.bytes)


def _up_rows(file: NeuronFile, layer: int) -> Bytes:
    """The up rows of a layer as encoded, uint8 [neurons, row_bytes], checked."""
    count = file.shape.neurons[layer]
    pitch = file.stride * (2 if file.form == "bundled" else 1)
    try:
        with file.path.open("rb") as opened:
            opened.seek(file.layer_at(layer))
            content = opened.read(count * pitch)
    except OSError as error:
        raise ModelError(f"{file.path} cannot be read ({error.strerror}).", "Look after the disk.") from error
    rows = np.frombuffer(content, np.uint8).reshape(count, pitch)[:, : file.stride]
    file.check_side(layer, 0, rows)
    return np.ascontiguousarray(rows[:, : file.row_bytes])
