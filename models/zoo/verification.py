"""Recomputing what a model's record claims from its weights: the loss over the whole split, bits, sparsity."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from harness.models.compress.codes import LayerReport, bits_per_weight, report
from harness.models.train import data
from harness.models.train.quality import mean_loss
from harness.models.zoo import storage
from harness.models.zoo.recipes import Zoo
from harness.models.zoo.records import PACKAGED, Record

LOSS_TOLERANCE = 1e-4
"""Nats a token. Sums of floats differ between processors; a changed weight shows far above this."""


@dataclass(frozen=True)
class Check:
    """One figure of a record beside the one computed now."""

    model: str
    figure: str
    recorded: float | None
    found: float | None
    agrees: bool


def verify(zoo: Zoo, name: str, folder: Path = PACKAGED, text: Path | None = None) -> list[Check]:
    """Every figure of `name`'s record that its weights determine. The file's hash is checked first.

    Raises UsageError for an unknown name, ModelError for missing or damaged weights, DataError without the text.
    """
    recipe = zoo.find(name)
    state, codes, record = storage.read_weights(folder, recipe.name)
    model = storage.loaded(state, recipe.architecture, folder / f"{recipe.name}.safetensors")
    loss = mean_loss(model, data.validation_tokens(record.tokenizer, text), recipe.architecture.context)
    checks = [
        Check(
            recipe.name,
            "validation_loss",
            record.validation_loss,
            loss,
            abs(loss - record.validation_loss) <= LOSS_TOLERANCE,
        )
    ]
    if record.bits_learned is not None:
        layers = report({layer: code for layer, code in codes.items() if layer.startswith("blocks.")})
        checks += _bits(record, layers) + [_layers(record, layers, figure) for figure in ("zero_weights", "dead_rows")]
    return checks


def _bits(record: Record, layers: list[LayerReport]) -> list[Check]:
    recorded = (record.bits_learned, record.bits_stored, record.bits_entropy)
    names = ("bits_learned", "bits_stored", "bits_entropy")
    return [
        Check(record.name, name, old, new, old is not None and abs(old - new) <= 1e-6)
        for name, old, new in zip(names, recorded, bits_per_weight(layers), strict=True)
    ]


def _layers(record: Record, layers: list[LayerReport], figure: str) -> Check:
    """The mean over all weights; it agrees where every single layer does."""
    computed = {layer.layer: asdict(layer) for layer in layers}
    recorded = {str(layer["layer"]): layer for layer in record.layers}

    def mean(rows: dict[str, dict[str, float]]) -> float:
        return sum(row["weights"] * row[figure] for row in rows.values()) / sum(row["weights"] for row in rows.values())

    agrees = computed.keys() == recorded.keys() and all(
        abs(computed[layer][figure] - recorded[layer][figure]) <= 1e-6 for layer in computed
    )
    return Check(record.name, figure, mean(recorded), mean(computed), agrees)
