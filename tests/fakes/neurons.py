"""Rows of a neuron file found one by one, to hold against what is read in larger pieces."""

from __future__ import annotations

import numpy as np

from harness.flash.io.geometry import Geometry


def rows_of_layer(content: np.ndarray, file: Geometry, layer: int) -> np.ndarray:
    """[neurons, 2, stride] of a layer, from a file's whole `content`."""
    count = file.shape.neurons[layer]
    reads = file.reads(layer, np.arange(count))
    records = np.stack([content[o : o + n] for o, n in zip(reads.offsets, reads.lengths, strict=True)])
    if file.form == "bundled":
        return records.reshape(count, 2, file.stride)
    return records.reshape(2, count, file.stride).swapaxes(0, 1)
