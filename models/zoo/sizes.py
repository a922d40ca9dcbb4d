"""What a file of trained weights takes, part by part.

A coded layer's bytes are its levels, its exponents, and headers: which rows and columns are alive, the range and the
learned bits of a row, and where it is entropy-coded how often a row has each level. What is not coded is float16.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

from safetensors.torch import save

from harness.models.zoo.storage import EMBEDDINGS, Encoded

KINDS = ("attention.qkv", "attention.proj", "ffn.fc", "ffn.out", "embeddings", "norms")
SORTS = {"codes": "levels_bytes", "exponents": "exponents_bytes", "weight": "float16_bytes"}
"""Where a tensor counts, by the last part of its name; every other is a header."""


@dataclass(frozen=True)
class Part:
    """Layers of one kind together: how many weights they have, and the bytes of each sort that these take."""

    part: str
    weights: int = 0
    levels_bytes: int = 0
    headers_bytes: int = 0
    exponents_bytes: int = 0
    float16_bytes: int = 0

    @property
    def stored_bytes(self) -> int:
        """All that is kept of it."""
        return self.levels_bytes + self.headers_bytes + self.exponents_bytes + self.float16_bytes

    @property
    def fp32_bytes(self) -> int:
        """What its weights would take in float32."""
        return 4 * self.weights


def parts(file: Encoded) -> list[Part]:
    """One `Part` for each of `KINDS`, then the container's own header, and last the `total`.

    The total's bytes are the size of the file that `storage.write` makes of `file`.
    """
    shapes = json.loads(file.metadata["codes"])
    held = [Part(kind(layer), rows * columns) for layer, (rows, columns) in shapes.items()]
    for name, tensor in file.tensors.items():
        layer, _, sort = name.rpartition(".")
        weights = 0 if layer in shapes else tensor.numel()
        held.append(Part(kind(layer), weights, **{SORTS.get(sort, "headers_bytes"): tensor.nbytes}))
    kinds = [added(name, [part for part in held if part.part == name]) for name in KINDS]
    size = len(save(file.tensors, file.metadata))
    container = Part("container", headers_bytes=size - sum(part.stored_bytes for part in kinds))
    return [*kinds, container, added("total", [*kinds, container])]


def kind(layer: str) -> str:
    """Which of `KINDS` a layer is of, by its name: `blocks.3.ffn.out` is `ffn.out`."""
    if layer in EMBEDDINGS:
        return "embeddings"
    return "norms" if layer.endswith("norm") else layer.split(".", 2)[2]


def added(name: str, several: list[Part]) -> Part:
    """The sums of `several` under one name."""
    counts = [field.name for field in fields(Part) if field.name != "part"]
    return Part(name, **{count: sum(getattr(part, count) for part in several) for count in counts})
