"""Feed-forward weights out of a checkpoint, as rows for a neuron file."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import ModelError, UsageError
from harness.flash.io.layout import Rows, Shape

Array = npt.NDArray[np.float32]
Sizes = dict[str, tuple[int, ...]]


def read_weights(path: Path, up: str, down: str) -> tuple[Shape, Rows]:
    """Dimensions and rows of the layers 0, 1, ... of a `.safetensors` or `.npz` file. `up` and `down`, with {layer}
    replaced, name their weights as linear layers store them: [neurons, width] and [width, neurons]. `rest_bytes` are 16
    bits for each other weight of the file.

    Raises UsageError for another kind of file, ModelError for one that cannot be read, or holds no such weights or ones
    that do not fit each other.
    """
    if path.suffix not in _OPENERS:
        raise UsageError(f"{path} is neither {' nor '.join(_OPENERS)}.", "Save the weights as one of these.")
    try:
        sizes, fetch = _OPENERS[path.suffix](path)
        pairs = _pairs(sizes, up, down)
    except (OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} has no readable weights ({error}).", "Copy it again from where it came from."
        ) from error
    if not pairs:
        known = ", ".join(sorted(sizes)[:5])
        raise ModelError(
            f"{path} has no {up.format(layer=0)} beside {down.format(layer=0)}: it begins with {known or 'nothing'}.",
            "Name its weights with --up and --down.",
        )
    width = sizes[pairs[0][0]][-1] if sizes[pairs[0][0]] else 0
    for first, second in pairs:
        if len(sizes[first]) != 2 or sizes[first][1] != width or sizes[second] != sizes[first][::-1]:
            raise ModelError(
                f"{first} {list(sizes[first])} and {second} {list(sizes[second])} are no feed-forward layer "
                f"of width {width}.",
                "Up must be [neurons, width] and down [width, neurons].",
            )

    def rows(layer: int) -> tuple[Array, Array]:
        first, second = pairs[layer]
        return fetch(first), np.ascontiguousarray(fetch(second).T)

    taken = {name for pair in pairs for name in pair}
    rest = sum(math.prod(size) for name, size in sizes.items() if name not in taken)
    return Shape(width, tuple(sizes[first][0] for first, _ in pairs), 2 * rest), rows


def _pairs(sizes: Sizes, up: str, down: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    while (names := (up.format(layer=len(pairs)), down.format(layer=len(pairs))))[0] in sizes and names[1] in sizes:
        if pairs and names == pairs[-1]:
            raise ValueError("--up and --down lack {layer}")
        pairs.append(names)
    return pairs


def _safetensors(path: Path) -> tuple[Sizes, Callable[[str], Array]]:
    """Through torch, since numpy knows no bfloat16."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            sizes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error

    def fetch(name: str) -> Array:
        with safe_open(path, framework="pt") as file:
            return np.asarray(file.get_tensor(name).to(torch.float32).numpy())

    return sizes, fetch


def _npz(path: Path) -> tuple[Sizes, Callable[[str], Array]]:
    """Never unpickled."""
    with np.load(path, allow_pickle=False) as file:
        sizes = {name: file[name].shape for name in file.files}

    def fetch(name: str) -> Array:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file[name], np.float32)

    return sizes, fetch


_OPENERS = {".safetensors": _safetensors, ".npz": _npz}
