"""Rows of weights as bytes: float16, or int8 and int4 levels with one float32 scale per row.

The scale is a row's largest magnitude over the largest level (127 or 7): symmetric, no zero point, so a weight of 0
stays 0. Two int4 levels share a byte, the even column in the low half, each plus 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.flash.names import Dtype as Dtype

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
BITS: dict[str, int] = {"float16": 16, "int8": 8, "int4": 4}
_LARGEST = {"int8": 127, "int4": 7}


def row_bytes(dtype: Dtype, width: int) -> int:
    """Bytes of one row of `width` weights, without its scale."""
    return -(-width * BITS[dtype] // 8)


def encode(rows: Floats, dtype: Dtype) -> tuple[Bytes, Floats]:
    """`rows` [n, width] as bytes [n, row_bytes] and scales [n], all 1 for float16.

    Raises ValueError for what the type cannot hold: NaN, infinity, and beyond 65504 in float16.
    """
    if not np.isfinite(rows).all():
        raise ValueError("a weight is NaN or infinite")
    largest = np.abs(rows).max(axis=1, initial=0.0)
    if dtype == "float16":
        if (largest > np.finfo(np.float16).max).any():
            raise ValueError(f"a weight of magnitude {largest.max():g} does not fit float16")
        halves = np.ascontiguousarray(rows, dtype="<f2")
        return halves.view(np.uint8), np.ones(len(rows), np.float32)
    scales = (largest / _LARGEST[dtype]).astype(np.float32)
    scales[scales == 0] = 1  # a row of zeros, or of magnitudes that float32 cannot divide
    levels = np.rint(rows / scales[:, None]).clip(-_LARGEST[dtype], _LARGEST[dtype]).astype(np.int8)
    if dtype == "int8":
        return levels.view(np.uint8), scales
    halves = (levels + 8).astype(np.uint8)
    if rows.shape[1] % 2:
        halves = np.pad(halves, ((0, 0), (0, 1)))
    return halves[:, ::2] | halves[:, 1::2] << 4, scales


def decode(codes: Bytes, scales: Floats, dtype: Dtype, width: int) -> Floats:
    """The weights [n, width] of `codes` [n, row_bytes]; the last axis of `codes` must be contiguous."""
    if dtype == "float16":
        return codes.view("<f2").astype(np.float32)
    if dtype == "int8":
        return codes.view(np.int8) * scales[:, None]
    levels: npt.NDArray[Any] = np.empty((len(codes), 2 * codes.shape[1]), np.float32)
    levels[:, ::2] = codes & 15
    levels[:, 1::2] = codes >> 4
    levels -= 8
    levels *= scales[:, None]
    return levels[:, :width]
