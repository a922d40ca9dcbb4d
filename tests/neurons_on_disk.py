"""A small neuron file, for the tests of what lies in flash."""

from __future__ import annotations

from pathlib import Path

from harness.flash.io.geometry import Form, Shape
from harness.flash.io.layout import Dtype, NeuronFile, random_rows, write

SHAPE = Shape(129, (7, 0, 30), 1000)


def made(folder: Path, form: Form = "bundled", dtype: Dtype = "float16", shape: Shape = SHAPE) -> NeuronFile:
    path = folder / f"{form}-{dtype}.neurons"
    write(path, shape, form, dtype, random_rows(shape, 1))
    return NeuronFile.open(path)
