"""The outputs that the native worker leaves, as the harness compares them; and against those of the same job on x86."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.errors import WorkerError


def as_npz(content: bytes, path: Path) -> None:
    """Write safetensors as the `.npz` that the Python worker would have written. Raises WorkerError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except SafetensorError as error:
        raise WorkerError("outputs", f"The outputs cannot be read ({error}).", "Run it again.") from error
    np.savez(path, **dict(sorted(arrays.items())))
