"""The record beside trained weights: how they were obtained, and the hash that ties it to them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.models.train.tokenizer import Tokenizer, tokenizer_of
from harness.outside_files import read_json

PACKAGED = Path(str(files("harness.models") / "weights"))


@dataclass(frozen=True, kw_only=True)
class Record:
    """How weights were obtained. The loss is nats per token over the whole validation split, at `context`, in float32.

    The loss is that of the stored weights; `trained_loss` is what training ended with, before embeddings, norms and
    scales were rounded for storage. Bits are bits per weight of the compressed layers, null for a model that was not
    compressed; `layers` has a row for each compressed layer (`codes.LayerReport`). `compression` is the record of a
    method that is learned in training (`compress.apply.CompressionRecord`), None for any other. Times are the whole
    run's, resumed or not.
    """

    name: str
    weights_sha256: str
    weights_bytes: int
    validation_loss: float
    trained_loss: float
    validation_tokens: int
    context: int
    tokens_seen: int
    data: str
    data_sha256: str
    seed: int
    wall_s: float
    cpu_s: float
    torch: str
    recipe: dict[str, Any]
    parent_weights_sha256: str | None = None
    bits_learned: float | None = None
    bits_stored: float | None = None
    bits_entropy: float | None = None
    layers: list[dict[str, Any]] = field(default_factory=list)
    vocabulary: str | None = None
    tokenizer_json: str | None = None
    compression: dict[str, Any] | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """That of `vocabulary`, the characters, or of `tokenizer_json`. Raises ModelError where it has neither."""
        tokenizer = tokenizer_of({"vocabulary": self.vocabulary, "tokenizer_json": self.tokenizer_json})
        if tokenizer is None:
            raise ModelError(f"The record of {self.name} names no tokenizer.", "Restore the file, or train again.")
        return tokenizer


def read_record(folder: Path, name: str) -> Record | None:
    """The record of `name` in `folder`, or None where it has no weights there. Raises ModelError if it is damaged."""
    path = folder / f"{name}.json"
    if not os.path.exists(path):
        return None
    return read_json(path, lambda raw: Record(**raw), "record", "Restore the file, or train again.", ModelError)
