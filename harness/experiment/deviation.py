"""How far the outputs of a model are from those of its parent, on the same inputs through the same runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.protocol import Scalar


def deviation(reference: Path, outputs: Path) -> list[Scalar]:
    """The largest absolute difference, the signal-to-noise ratio in dB and the share of rows with the same argmax.

    Both files are `.npz` with equally named float arrays. Outputs that do not correspond give nulls with a reason.
    """
    names = ("max_abs_difference", "sqnr_db", "argmax_agreement")
    with np.load(reference, allow_pickle=False) as a, np.load(outputs, allow_pickle=False) as b:
        if a.files != b.files or any(a[name].shape != b[name].shape for name in a.files):
            return [
                Scalar(name=name, value=None, reason="its outputs have other shapes than the parent's")
                for name in names
            ]
        floats = [a[name].dtype.kind == "f" and b[name].dtype.kind == "f" for name in a.files]
        pairs = [(a[name].astype(np.float64), b[name].astype(np.float64)) for name in a.files]
    if not all(np.isfinite(x).all() and np.isfinite(y).all() for x, y in pairs):
        return [Scalar(name=name, value=None, reason="some outputs are not finite") for name in names]
    noise = sum(float(((x - y) ** 2).sum()) for x, y in pairs)
    signal = sum(float((x**2).sum()) for x, _ in pairs)
    # Classes stand in the last dimension of [batch, classes] and [batch, tokens, classes]. Of one dimension it is the
    # batch, of an image its width, and integers are labels themselves.
    rows = [
        (x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]))
        for (x, y), is_float in zip(pairs, floats, strict=True)
        if is_float and x.size and x.ndim in (2, 3) and x.shape[-1] > 1
    ]
    agree = [float((x.argmax(-1) == y.argmax(-1)).mean()) for x, y in rows]
    sqnr = 10 * np.log10(signal / noise) if noise and signal else None
    return [
        Scalar(
            name="max_abs_difference", value=max((float(np.abs(x - y).max()) for x, y in pairs if x.size), default=0.0)
        ),
        Scalar(
            name="sqnr_db",
            value=sqnr,
            reason=None
            if sqnr is not None
            else "the outputs are identical"
            if not noise
            else "the parent's outputs are all zero",
        ),
        Scalar(
            name="argmax_agreement",
            value=float(np.mean(agree)) if agree else None,
            reason=None if agree else "no output has rows of classes to take an argmax of",
        ),
    ]
