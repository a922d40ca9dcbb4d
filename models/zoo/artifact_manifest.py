"""The manifest of a file that was exported: what is known of the model, and what decides whether it is current."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.manifest import Manifest, sha256_file
from harness.models.compress.method import IN_TRAINING
from harness.models.gpt.network import GPT
from harness.models.recipe import Recipe
from harness.models.zoo.copying import data_file
from harness.models.zoo.records import Record
from harness.models.zoo.weights_at_rest import bytes_at_rest

PLAIN_BITS = {"fp32": 32.0, "int8": 8.0, "int4-channel": 4.0, "int4-group32": 4.5}
"""Bits per weight that was not compressed. A step of 16 bits for every 32 weights is counted, a step for a whole
channel is not.
"""


def artifact_manifest(path: Path, recipe: Recipe, model: GPT, record: Record, wanted: dict[str, Any]) -> Manifest:
    """The manifest of the artifact at `path`; `wanted` are the fields that must hold for it to be current.

    An uncompressed model has the bits that its precision gives it, and where that rounds its weights, the loss that was
    recorded is not the file's.
    """
    own = recipe.stored()
    if record.bits_stored is None:
        rounded = wanted["precision"] != own
    else:  # integers with a step per channel stay what they are in int8; int8 has no step for a group
        rounded = wanted["precision"] == "int8" and own == "int4-group32"
    data = [file for file in (data_file(path),) if file is not None]
    losses = {"loss": record.validation_loss, "perplexity": math.exp(record.validation_loss)}
    plain_bits = PLAIN_BITS.get(wanted["precision"]) if record.bits_stored is None else None
    return Manifest(
        name=recipe.name,
        method=recipe.method,
        artifact_sha256=sha256_file(path),
        artifact_bytes=sum(file.stat().st_size for file in (path, *data)),
        data_sha256=sha256_file(data[0]) if data else None,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parent=recipe.parent,
        bits_per_weight=record.bits_learned if plain_bits is None else plain_bits,
        bits_per_weight_stored=record.bits_stored if plain_bits is None else plain_bits,
        bits_per_weight_entropy=record.bits_entropy,
        architecture=asdict(model.config),
        weights_bytes=_weights_bytes(model, record, wanted["precision"]),
        family=None if recipe.method == "baseline" else IN_TRAINING,
        layers=record.layers,
        quality={
            **({} if rounded else losses),
            "tokens": record.validation_tokens,
            "context": record.context,
            "data": record.data,
            "data_sha256": record.data_sha256,
            "how": "eager PyTorch, float32, before export; windows of the context that do not overlap",
        },
        tokenizer={**record.tokenizer.description},
        **wanted,
    )


def _weights_bytes(model: GPT, record: Record, precision: str) -> int | None:
    """All weights at rest; None of a file whose precision rounds weights that were not compressed, since its exporter
    decides which.
    """
    if record.layers:
        bits = sum(layer["weights"] * layer["stored_bits"] for layer in record.layers)
        return bytes_at_rest(model, [layer["layer"] for layer in record.layers], bits)
    return bytes_at_rest(model, (), 0) if precision == "fp32" else None
