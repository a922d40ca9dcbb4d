"""What `harness models list` shows."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from harness.folders import cache_folder
from harness.models.zoo.formats import SUFFIXES
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED, read_record


def rows() -> list[dict[str, Any]]:
    """One row per model: names, method, bits per weight and loss as recorded (None: it has no weights), files built."""
    zoo = packaged()
    models = []
    for recipe in zoo.recipes.values():
        record = read_record(PACKAGED, recipe.name)
        built = sorted(
            path.name for path in (cache_folder() / "artifacts").glob(f"{recipe.name}.*") if _is_model(path.name)
        )
        models.append(
            {
                "name": recipe.name,
                "aliases": [alias for alias, name in zoo.aliases.items() if name == recipe.name],
                "method": recipe.method,
                "parent": recipe.parent,
                "precision": recipe.stored(),
                "bits_per_weight": record.bits_learned if record else None,
                "bits_per_weight_stored": record.bits_stored if record else None,
                "loss": record.validation_loss if record else None,
                "built": built,
            }
        )
    for compressed in zoo.compressed.values():
        path = cache_folder() / "artifacts" / f"{compressed.name}.pte"
        models.append(
            {
                "name": compressed.name,
                "aliases": [],
                "method": compressed.method,
                "parent": compressed.parent,
                "precision": None,
                "bits_per_weight": None,
                "bits_per_weight_stored": None,
                "loss": None,
                "built": [path.name] if path.exists() else [],
            }
        )
    return models


def table(models: list[dict[str, Any]]) -> Table:
    """The same for a terminal."""
    caption = "bits: per weight of the compressed layers, stored. loss: nats per token, validation split."
    shown = Table(box=SIMPLE_HEAD, padding=0, caption=caption, caption_justify="left")
    for heading in ("name", "alias", "method", "precision", "bits", "loss", "built"):
        right = heading in ("bits", "loss")
        shown.add_column(heading, justify="right" if right else "left", no_wrap=heading != "built")
    for row in models:
        bits, loss = row["bits_per_weight_stored"], row["loss"]
        shown.add_row(
            row["name"],
            ", ".join(row["aliases"]),
            row["method"],
            row["precision"] or "–",
            "–" if bits is None else f"{bits:.2f}",
            "–" if loss is None else f"{loss:.4f}",
            ", ".join(name.removeprefix(row["name"] + ".") for name in row["built"]) or "no",
        )
    return shown


def _is_model(name: str) -> bool:
    return name.endswith(SUFFIXES)
