"""The outputs that the native worker leaves, as the harness compares them, and against labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.errors import WorkerError
from harness.protocol import Scalar
from harness.worker.labelled import marks_of, read_labels


def as_npz(content: bytes, path: Path) -> None:
    """Write safetensors as the `.npz` that the Python worker would have written. Raises WorkerError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except SafetensorError as error:
        raise WorkerError("outputs", f"The outputs cannot be read ({error}).", "Run it again.") from error
    np.savez(path, **dict(sorted(arrays.items())))


def marks_on(outputs: Path, labels: Path) -> list[Scalar]:
    """How well the first outputs of all batches in the `.npz` at `outputs` fit the labels. Raises UsageError for a
    label that is no class.
    """
    marks = marks_of(read_labels(labels))
    with np.load(outputs, allow_pickle=False) as arrays:
        batches = len({name.partition("_")[0] for name in arrays.files})
        for number in range(batches):
            name = f"set{number}_output0"
            marks.add(arrays[name] if name in arrays.files else None)
    return marks.scalars()
