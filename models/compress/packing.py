"""Codes packed for storage: each row at the width its levels need, dead rows and columns absent.

Of a `Code` [out, in] six tensors are kept:

* `rows`, `columns`: which have a level that is not 0, uint8, one bit each; everything below is about those alone;
* `range` int8 [rows, 2]: a row's smallest and greatest level;
* `exponents` float16 [rows, groups]; `bits` uint8 [out, groups], in sixteenths;
* `codes` uint8: level minus smallest level, each of a row in ceil(log2(number of levels in its range)) bits, rows of
  equal width together, narrow ones first, every width beginning at a byte.

Entropy-coded, `codes` is an asymmetric-numeral-systems stream (Duda, arXiv 1311.2540), as 32-bit words, and `shares`
uint8 says how often a row has each level of its range, in 255ths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.errors import ModelError, UsageError
from harness.models.compress.codes import Code

Array = npt.NDArray[Any]
BITS_UNIT = 1 / 16


def pack(code: Code, entropy_coded: bool = False) -> dict[str, Tensor]:
    """The tensors to store. `unpack` gives back the same weights exactly, and the bits to the nearest sixteenth.

    Raises UsageError where they are to be entropy-coded and constriction is not installed.
    """
    levels = code.levels.numpy()
    rows, columns = (levels != 0).any(axis=1), (levels != 0).any(axis=0)
    live = levels[rows][:, columns].astype(np.int16)
    low, high = live.min(axis=1, initial=127), live.max(axis=1, initial=-128)
    symbols, sizes = live - low[:, None], high - low + 1
    parts: dict[str, Array] = {
        "rows": np.packbits(rows),
        "columns": np.packbits(columns),
        "range": np.stack([low, high], axis=1).astype(np.int8),
        "exponents": code.exponents.numpy()[rows],
        "bits": (code.bits.numpy() / BITS_UNIT).round().clip(0, 255).astype(np.uint8),
    }
    if entropy_coded:
        parts["shares"] = _shares(symbols, sizes)
        parts["codes"] = _ans_encoded(symbols, sizes, parts["shares"])
    else:
        parts["codes"] = _bit_packed(symbols, widths(sizes))
    return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}


def unpack(parts: Mapping[str, Tensor], shape: tuple[int, int]) -> Code:
    """The code [out, in] of `shape` from what `pack` made. Raises ModelError for parts that do not fit each other.

    Raises UsageError where they are entropy-coded and constriction is not installed.
    """
    try:
        return _unpack({name: part.numpy() for name, part in parts.items()}, shape)
    except (KeyError, ValueError, IndexError, TypeError, MemoryError) as error:
        raise ModelError(f"Packed weights are damaged ({error}).", "Restore the file, or train again.") from error


def widths(sizes: Array) -> Array:
    """Bits that a choice among `sizes` values takes: ceil(log2), 0 for one value."""
    return np.ceil(np.log2(sizes)).astype(np.int64)


def _unpack(parts: Mapping[str, Array], shape: tuple[int, int]) -> Code:
    rows, columns = _mask(parts["rows"], shape[0]), _mask(parts["columns"], shape[1])
    low, high = parts["range"].astype(np.int16).T
    if len(low) != rows.sum() or (high < low).any():
        raise ValueError("ranges of levels do not fit the rows")
    count = int(columns.sum())
    if "shares" in parts:
        symbols = _ans_decoded(parts["codes"], high - low + 1, count, parts["shares"])
    else:
        symbols = _bit_unpacked(parts["codes"], widths(high - low + 1), count)
    levels = np.zeros(shape, dtype=np.int8)
    levels[np.ix_(rows, columns)] = symbols + low[:, None]
    exponents = np.zeros((shape[0], parts["exponents"].shape[1]), dtype=np.float16)
    exponents[rows] = parts["exponents"]
    bits = (parts["bits"] * BITS_UNIT).astype(np.float16)
    if bits.shape != exponents.shape:
        raise ValueError("bits do not fit the exponents")
    return Code(*(torch.from_numpy(part) for part in (levels, exponents, bits)))


def _mask(packed: Array, count: int) -> Array:
    if len(packed) != -(-count // 8):
        raise ValueError("a mask has another length")
    return np.unpackbits(packed, count=count).astype(bool)


def _bit_packed(symbols: Array, width: Array) -> Array:
    parts = [
        np.packbits(((symbols[width == w][..., None] >> np.arange(w)) & 1).astype(np.uint8).ravel())
        for w in range(1, 9)
    ]
    packed: Array = np.concatenate(parts)
    return packed


def _bit_unpacked(packed: Array, width: Array, columns: int) -> Array:
    symbols, at = np.zeros((len(width), columns), dtype=np.int16), 0
    for w in range(1, 9):
        rows = width == w
        count = int(rows.sum()) * columns * w
        size = -(-count // 8)
        if at + size > len(packed):
            raise ValueError("codes end early")
        bits = np.unpackbits(packed[at : at + size], count=count).reshape(int(rows.sum()), columns, w)
        symbols[rows] = bits @ (1 << np.arange(w))
        at += size
    if at != len(packed):
        raise ValueError("codes are too long")
    return symbols


def _shares(symbols: Array, sizes: Array) -> Array:
    """Of each row with more than one level in its range, how often it has each: at least 1, so that all can occur."""
    parts = [
        np.bincount(row, minlength=size) * 255 / len(row) for row, size in zip(symbols, sizes, strict=True) if size > 1
    ]
    shares: Array = np.maximum(np.concatenate([np.zeros(0), *parts]).round(), 1).astype(np.uint8)
    return shares


def _models(sizes: Array, shares: Array) -> Iterator[tuple[int, Any]]:
    """The rows that are coded, each with its distribution."""
    categorical = _constriction().stream.model.Categorical
    rows = np.flatnonzero(sizes > 1)
    ends = np.cumsum(sizes[rows])
    if len(shares) != (ends[-1] if len(rows) else 0):
        raise ValueError("shares do not fit the ranges of levels")
    for row, end in zip(rows, ends, strict=True):
        weights = shares[end - sizes[row] : end].astype(np.float32)
        yield int(row), categorical(weights / weights.sum(), perfect=False)


def _ans_encoded(symbols: Array, sizes: Array, shares: Array) -> Array:
    coder = _constriction().stream.stack.AnsCoder()
    for row, model in reversed(list(_models(sizes, shares))):  # last in, first out
        coder.encode_reverse(symbols[row].astype(np.int32), model)
    words: Array = coder.get_compressed()
    return words.view(np.int32)


def _ans_decoded(words: Array, sizes: Array, columns: int, shares: Array) -> Array:
    coder = _constriction().stream.stack.AnsCoder(words.view(np.uint32))
    symbols = np.zeros((len(sizes), columns), dtype=np.int16)
    for row, model in _models(sizes, shares):
        symbols[row] = coder.decode(model, columns)
    if not coder.is_empty():
        raise ValueError("codes do not end with the weights")
    return symbols


def _constriction() -> Any:
    try:
        import constriction
    except ImportError as error:
        raise UsageError(
            "Entropy-coded weights need the library constriction.", "pip install 'edge-harness[entropy]'."
        ) from error
    return constriction
