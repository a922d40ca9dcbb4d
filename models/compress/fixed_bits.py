"""Codes of a fixed width, trained straight through: what self-compression is compared with.

Weights stay float32 underneath; the forward pass sees them quantised, and their gradient passes the rounding unchanged
(Bengio et al., arXiv 1308.3432). Layers, loop and storage are those of self-compression; only the bits are not learned.

`ternary`: the weights of a channel are -s, 0 or s, as in Ternary Weight Networks (Li et al., arXiv 1605.04711): zero
below 0.7 of the channel's mean magnitude, s the mean magnitude of the others. It approximates the least-squares code of
a given channel, which is what a network that was trained in float32 starts from; the absmean code of BitNet b1.58
(arXiv 2402.17764) shares one scale among all channels of a layer and is meant for training from scratch.

`fixed-bits`: b bits per weight, -2^(b-1) to 2^(b-1) - 1 steps, no zero point. The step is learned, as in LSQ (Esser et
al., arXiv 1902.08153), but as an exponent, as in self-compression: its AdamW needs no scale for the gradient then.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.models.compress.codes import Code
from harness.models.compress.objective import Objective
from harness.models.compress.selfcompression import block_linears, compress, quantised_codes
from harness.models.gpt.network import GPT
from harness.models.recipe import FixedRecipe, used

THRESHOLD = 0.7
"""Of the mean magnitude: the best for weights that are spread evenly, and near it (0.75) for normal ones."""


def ternary(weight: Tensor) -> Code:
    """The ternary code of `weight` [out, in], one scale per channel. A channel of zeros has none but zeros."""
    size = weight.detach().abs()
    not_zero = size > THRESHOLD * size.mean(dim=1, keepdim=True)
    scale = (size * not_zero).sum(dim=1, keepdim=True) / not_zero.sum(dim=1, keepdim=True).clamp(min=1)
    exponents = torch.log2(scale.clamp(min=torch.finfo(torch.float32).tiny)).half()
    levels = (weight.detach().sign() * not_zero).to(torch.int8)
    return Code(levels, exponents, torch.full_like(exponents, math.log2(3)))


class Ternary(nn.Module):
    """A parametrization of a weight [out, in]: the module computes with its ternary code."""

    def forward(self, weight: Tensor) -> Tensor:
        return ternary(weight).weight() + (weight - weight.detach())  # exactly the code, with the gradient of `weight`

    def code(self, weight: Tensor) -> Code:
        """What the module computes with."""
        return ternary(weight)


class TernaryCode(Objective):
    """What `ternary` adds to a training run of `model`, whose block layers it replaces."""

    def __init__(self, model: GPT) -> None:
        for _, linear in list(block_linears(model)):
            parametrize.register_parametrization(linear, "weight", Ternary())

    def description(self) -> dict[str, Any]:
        return {"levels": "ternary"}

    def codes(self, model: GPT) -> dict[str, Code]:
        return quantised_codes(model)


class FixedBits(Objective):
    """What `fixed-bits` adds to a training run of `model`, whose block layers it replaces."""

    def __init__(self, model: GPT, recipe: FixedRecipe) -> None:
        self.recipe = recipe
        self.layers = compress(model, float(recipe.bits))
        for layer in self.layers.values():
            layer.bits.requires_grad_(False)

    def description(self) -> dict[str, Any]:
        return used(self.recipe)

    def parameter_groups(self) -> list[dict[str, Any]]:
        layers = self.layers.values()
        # The bits have no gradient and stay as they are; they are named so that they are not taken for weights.
        both = [*(layer.exponent for layer in layers), *(layer.bits for layer in layers)]
        return [{"params": both, "lr": self.recipe.exponent_rate}]

    def codes(self, model: GPT) -> dict[str, Code]:
        return quantised_codes(model)
