"""Tiny files of the bound, written without torch, and what they compute, in float64."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from harness.bound.file import (
    Sizes,
    write_floating,
    write_floats,
    write_header,
    write_index,
    write_levels,
    write_sizes,
)

VOCABULARY, CONTEXT, WIDTH, HEADS = 17, 16, 24, 2
Arrays = dict[str, np.ndarray]


def weights(width: int = WIDTH, context: int = CONTEXT, layers: int = 2, seed: int = 0) -> Arrays:
    """Drawn so widely that each matters."""
    rng = np.random.default_rng(seed)
    shapes = {"tokens": (VOCABULARY, width), "positions": (context, width)}
    for layer in range(layers):
        shapes |= {f"{layer}.{name}": (width, width) for name in ("queries", "keys", "values", "proj")}
        shapes |= {f"{layer}.fc": (4 * width, width), f"{layer}.out": (width, 4 * width)}
    return {name: rng.normal(0, 0.25, shape).astype(np.float32) for name, shape in shapes.items()}


def write_bound(path: Path, arrays: Arrays | None = None) -> Path:
    """Float32, with ReLU, all norms 1."""
    arrays = weights() if arrays is None else arrays
    context, width = arrays["positions"].shape
    layers = sum(name.endswith(".fc") for name in arrays)
    ones = np.ones(width, np.float32)
    with path.open("wb") as file:
        write_header(file, len(arrays["tokens"]), context, width, layers, relu=True)
        write_floating(file, arrays["tokens"])
        write_floating(file, arrays["positions"])
        for layer in range(layers):
            write_sizes(file, Sizes(HEADS, width // HEADS, width // HEADS, 4 * width, 0, 0))
            for names in (("queries", "keys", "values", "proj"), ("fc", "out")):
                write_floats(file, ones)
                for name in names:
                    write_floating(file, arrays[f"{layer}.{name}"])
                write_index(file, None)
        write_floats(file, ones)
    return path


def logits(tokens: np.ndarray, arrays: Arrays | None = None) -> np.ndarray:
    """Tokens [n] to the logits [n, vocabulary] of every place."""
    w = {name: array.astype(np.float64) for name, array in (weights() if arrays is None else arrays).items()}
    count = len(tokens)
    x = w["tokens"][tokens] + w["positions"][:count]
    mask = np.triu(np.full((count, count), -np.inf), 1)
    for layer in range(sum(name.endswith(".fc") for name in w)):
        normed = _normed(x)
        queries, keys, values = (
            (normed @ w[f"{layer}.{name}"].T).reshape(count, HEADS, -1).transpose(1, 0, 2)
            for name in ("queries", "keys", "values")
        )
        scores = np.exp(queries @ keys.transpose(0, 2, 1) + mask)
        mixed = (scores / scores.sum(2, keepdims=True)) @ values
        x = x + mixed.transpose(1, 0, 2).reshape(count, -1) @ w[f"{layer}.proj"].T
        x = x + np.maximum(_normed(x) @ w[f"{layer}.fc"].T, 0) @ w[f"{layer}.out"].T
    return _normed(x) @ w["tokens"].T


def _normed(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)


def write_integers(path: Path) -> Path:
    """Every kind of matrix, a cut layer, and one without attention."""
    rng = np.random.default_rng(5)

    def levels(rows: int, columns: int, bits: int) -> tuple[np.ndarray, np.ndarray, int]:
        most = 1 << (bits - 1)
        drawn = rng.integers(-most, most, (rows, columns)).astype(np.int8)
        return drawn, np.full(rows, 0.02, np.float32), bits

    width = 20
    with path.open("wb") as file:
        write_header(file, VOCABULARY, CONTEXT, width, 2, relu=False)
        write_levels(file, *levels(VOCABULARY, width, 8))
        write_floating(file, rng.normal(size=(CONTEXT, width)).astype(np.float32))
        write_sizes(file, Sizes(2, 3, 5, 9, 3, 0))
        write_floats(file, np.ones(width, np.float32))
        for rows, columns, bits in ((6, width, 4), (6, width, 8), (10, width, 4), (3, 10, 4)):
            write_levels(file, *levels(rows, columns, bits))
        write_index(file, (1, 4, 19))
        write_floats(file, np.ones(width, np.float32))
        write_levels(file, *levels(9, width, 4))
        write_levels(file, *levels(width, 9, 8))
        write_sizes(file, Sizes(0, 0, 0, 6, 0, 2))
        write_floats(file, np.ones(width, np.float32))
        write_levels(file, *levels(6, width, 4))
        write_levels(file, *levels(2, 6, 4))
        write_index(file, (0, 7))
        write_floats(file, np.ones(width, np.float32))
    return path


def mutated(content: bytes, number: int) -> bytes:
    """Cut, longer, or with some bytes or a number exchanged."""
    draw, changed = random.Random(number), bytearray(content)
    kind = number % 4
    if kind == 0:
        return bytes(changed[: draw.randrange(len(changed))])
    if kind == 1:
        return bytes(changed + draw.randbytes(draw.randrange(1, 99)))
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(min(len(changed), draw.choice((64, 1 << 20))))
        if kind == 2:
            changed[place] = draw.randrange(256)
        else:
            word = draw.choice((0, 1, -1, 2**31 - 1, -(2**31), 65536, 65537, 0x7F800000, 0x7F7FFFFF))
            changed[place : place + 4] = word.to_bytes(4, "little", signed=word < 0)
    return bytes(changed)
