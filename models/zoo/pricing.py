"""Programs to price channels with: a GPT of random weights, and the same GPT without half of its channels of one kind.

How long a program takes does not depend on the values of its weights, so they need no training. It does depend on how
they are stored: these are integers of 4 bits with a step per channel, from which self-compression starts too, so the
exporter writes the kind of layer that it writes for a compressed model. Channels go the way of a compressed model's as
well: their rows are zero, and `shrinking` cuts them out with all that goes with them. Half of the rows of

* `qkv` are those of half the query, key and value channels of each head. So a pair of a query and a key counts as two
  rows that save half of it each, and a value as one that saves its column of `proj` too;
* `fc` are half the neurons, with their columns of `out`;
* `proj` and `out` are those of half the residual channels that a layer writes. The exporter writes such rows as zeros
  (see `deployment`), so cutting them changes no size: a program would be the whole one again, and none is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.models.compress.selfcompression import SelfCompressed, block_linears
from harness.models.compress.shrinking import shrink
from harness.models.export.deployment import Body
from harness.models.export.pte import export_pte
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.recipe import LAYERS, Recipe

BITS = 4.0
"""Of the random integers. A program in int8 holds them in int8, and takes as long as it would with larger ones."""


@dataclass(frozen=True)
class Program:
    """A `.pte` file that lacks `channels` output channels of layers of one `kind`, counted over all blocks; the whole
    model lacks 0 of None.
    """

    path: Path
    kind: str | None
    channels: int


def write_programs(recipe: Recipe, precision: str, folder: Path) -> Iterator[Program]:
    """The whole model of the recipe's architecture, then a program for each kind in `LAYERS` whose channels take their
    weights with them; each is yielded as soon as it is written.

    Files are named so that nobody takes them for trained models. `precision` and errors as for `export_pte`.
    """
    all_weights = deployed_weights(random_model(recipe.architecture))
    for kind in (None, *LAYERS):
        model = random_model(recipe.architecture)
        channels = 0 if kind is None else remove_half(model, kind)
        small = shrink(model)
        if kind is None or deployed_weights(small) < all_weights:
            path = folder / f"random-{recipe.name}-{precision}-{'whole' if kind is None else f'half-{kind}'}.pte"
            export_pte(small, path, precision)
            yield Program(path, kind, channels)


def deployed_weights(model: GPT) -> int:
    """How many weights the blocks of an exported program hold."""
    return sum(weight.numel() for weight in Body(model).blocks.parameters())


def random_model(config: GPTConfig) -> GPT:
    """An untrained GPT whose block layers are integers of 4 bits; the same at every call."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = GPT(config).eval()
        for _, linear in block_linears(model):
            linear.weight.copy_(SelfCompressed(linear.weight, BITS).code(linear.weight).weight())
    return model


def remove_half(model: GPT, kind: str) -> int:
    """Set half of the rows of every layer of that kind to zero, in place; returns how many that are in all blocks."""
    removed = 0
    for name, linear in block_linears(model):
        if name.rpartition(".")[2] == kind:
            # Of qkv the same channels of every head, or the heads would be padded to the widest of them.
            groups = linear.weight.view(3 * model.config.heads if kind == "qkv" else 1, -1, linear.in_features)
            half = groups.size(1) // 2
            with torch.no_grad():
                groups[:, :half] = 0
            removed += groups.size(0) * half
    return removed
