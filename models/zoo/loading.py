"""Trained models by name, as the exporters take them."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.models.compress.shrinking import shrink
from harness.models.gpt.network import GPT
from harness.models.zoo import storage
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED, Record

CHANNELS = {"padded": 16, "exact": 1, "masked": 0}
"""What the channels of a program in fixed shapes are filled up to a multiple of; 0: nothing is cut.

Accelerators compute channels by the sixteen, so dead ones are cut and the others filled up to a multiple of it
(`padded`). `exact` does not fill up, and `masked` cuts nothing: zeros stay where they are. The three show what removed
channels buy, and what zeros do.
"""


def load(name: str, folder: Path | None = None) -> tuple[GPT, Record]:
    """The model as it ships, in evaluation mode, and how it was trained; dead channels of a compressed one are cut.

    `folder` holds weights of the user's own training; without it they are those that come with harness. Raises
    UsageError for an unknown name and ModelError for missing or damaged weights.
    """
    recipe = packaged().find(name)
    model, record = storage.read(folder or PACKAGED, recipe.name, recipe.architecture)
    return (shrink(model) if record.bits_stored is not None else model), record


def load_for_fixed_shapes(name: str, channels: str, folder: Path | None = None) -> GPT:
    """The model with its channels cut as `channels` (one of `CHANNELS`) says. Errors as for `load`."""
    if channels not in CHANNELS:
        raise UsageError(f"There are no {channels!r} channels.", f"Choose one of: {', '.join(CHANNELS)}.")
    recipe = packaged().find(name)
    model, record = storage.read(folder or PACKAGED, recipe.name, recipe.architecture)
    if record.bits_stored is None or not CHANNELS[channels]:
        return model
    return shrink(model, CHANNELS[channels])
