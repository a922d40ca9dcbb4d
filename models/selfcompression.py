"""Self-compression: the network learns how many bits each of its channels deserves, down to none.

Cséfalvay and Imber, "Self-Compressing Neural Networks" (arXiv 2301.13142). Every output channel of a linear layer has
a bit depth b >= 0 and an exponent e, both trained with the weights:

    q(x; b, e) = 2^e * round(clamp(2^-e x, -2^(b-1), 2^(b-1) - 1)),    the derivative of round taken as 1
    loss = L0 + gamma * Q,    Q = sum over channels of b * fan_in / weights, in bits a weight

A channel at b = 0 is zero whatever its weights, and can be cut out of the network (`shrinking`). Here the four linear
layers of each block are compressed; embeddings and norms stay float32. b is projected to b >= 0 after each update, not
clipped inside q, so that a channel whose gradient wants it back can grow again. When Q reaches its target b is frozen,
and weights and exponents are trained on while the learning rate falls: that is where the loss recovers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.models.gpt import GPT
from harness.models.recipes import CompressionRecipe
from harness.models.training import Objective


def round_straight_through(x: Tensor) -> Tensor:
    """round(x), with derivative 1 (the straight-through estimator, Bengio et al., arXiv 1308.3432)."""
    return x + (x.round() - x).detach()


def quantise(weight: Tensor, bits: Tensor, exponent: Tensor) -> Tensor:
    """q(x; b, e) of the module's heading. `weight` [out, in], `bits` and `exponent` [out] each; returns [out, in]."""
    step, half = torch.exp2(exponent)[:, None], torch.exp2(bits - 1)[:, None]
    return step * round_straight_through(torch.clamp(weight / step, -half, half - 1))


class SelfCompressed(nn.Module):
    """A parametrization of a weight [out, in]: the module computes with q(weight), and trains b and e beside it."""

    def __init__(self, weight: Tensor, initial_bits: float) -> None:
        super().__init__()
        largest = weight.detach().abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        self.bits = nn.Parameter(torch.full_like(largest, initial_bits))
        self.exponent = nn.Parameter(torch.log2(largest) - (initial_bits - 1))

    def forward(self, weight: Tensor) -> Tensor:
        return quantise(weight, self.bits, self.exponent)


def block_linears(model: GPT) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers inside the blocks, named, first to last."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name, module


def compress(model: GPT, initial_bits: float) -> dict[str, SelfCompressed]:
    """Make every block's linear layers self-compressed, in place; returns each one's parametrization by layer name."""
    layers = {}
    for name, linear in list(block_linears(model)):
        layers[name] = SelfCompressed(linear.weight, initial_bits)
        parametrize.register_parametrization(linear, "weight", layers[name])
    return layers


class SelfCompression(Objective):
    """What self-compression adds to a training run of `model`, whose block layers it replaces."""

    def __init__(self, model: GPT, recipe: CompressionRecipe) -> None:
        self.recipe = recipe
        self.layers = compress(model, recipe.initial_bits)
        self.fan_in = {name: linear.in_features for name, linear in block_linears(model)}
        self.weights = sum(linear.weight.numel() for _, linear in block_linears(model))
        self.frozen_after: int | None = None

    def learned_bits(self) -> Tensor:
        """Q, bits a weight: a scalar with a gradient."""
        return (
            torch.stack([layer.bits.sum() * self.fan_in[name] for name, layer in self.layers.items()]).sum()
            / self.weights
        )

    def description(self) -> dict[str, Any]:
        return asdict(self.recipe)

    def parameter_groups(self) -> list[dict[str, Any]]:
        layers = self.layers.values()
        return [
            {"params": [layer.bits for layer in layers], "lr": self.recipe.bits_rate},
            {"params": [layer.exponent for layer in layers], "lr": self.recipe.exponent_rate},
        ]

    def penalty(self) -> Tensor | float:
        return self.recipe.gamma * self.learned_bits() if self.frozen_after is None else 0.0

    def after_update(self, step: int) -> None:
        with torch.no_grad():
            for layer in self.layers.values():
                layer.bits.clamp_(min=0)
        if self.frozen_after is None and self.learned_bits().item() <= self.recipe.target_bits:
            self._freeze(step)

    def figures(self) -> dict[str, float]:
        return {"bits": self.learned_bits().item()}

    def state(self) -> dict[str, Any]:
        return {"frozen_after": self.frozen_after}

    def restore(self, state: dict[str, Any]) -> None:
        if state["frozen_after"] is not None:
            self._freeze(state["frozen_after"])

    def _freeze(self, step: int) -> None:
        """From here on b is constant: without a gradient AdamW leaves it alone."""
        self.frozen_after = step
        for layer in self.layers.values():
            layer.bits.requires_grad_(False)


@dataclass(frozen=True)
class LayerReport:
    """One compressed layer. Bits are a weight; `zero_weights` and `dead_rows` are fractions of 1.

    `learned_bits` is b, what training paid for. `stored_bits` is what a fixed-length code needs: a row with n different
    values takes ceil(log2 n) bits a weight. `entropy_bits` is the entropy of a row's values, the limit of a
    variable-length code. None of them counts the exponents or the codes' headers.
    """

    layer: str
    weights: int
    learned_bits: float
    stored_bits: float
    entropy_bits: float
    zero_weights: float
    dead_rows: float


def report_layer(name: str, weight: Tensor, bits: Tensor) -> LayerReport:
    """Figures of one layer from its quantised `weight` [out, in] and its `bits` [out]."""
    stored, entropy = 0.0, 0.0
    for row in weight.detach():
        _, counts = row.unique(return_counts=True)
        shares = counts / row.numel()
        stored += math.ceil(math.log2(len(counts)))
        entropy -= (shares * shares.log2()).sum().item()
    rows, zero = weight.size(0), weight == 0
    return LayerReport(
        layer=name,
        weights=weight.numel(),
        learned_bits=bits.mean().item(),
        stored_bits=stored / rows,
        entropy_bits=entropy / rows,
        zero_weights=zero.float().mean().item(),
        dead_rows=zero.all(dim=1).float().mean().item(),
    )


def report(model: GPT, layers: dict[str, SelfCompressed]) -> list[LayerReport]:
    """One `LayerReport` a compressed layer of `model`, first to last."""
    return [report_layer(name, linear.weight, layers[name].bits) for name, linear in block_linears(model)]


def bits_per_weight(layers: list[LayerReport]) -> tuple[float, float, float]:
    """Learned, stored and entropy bits a weight over all compressed layers."""
    total = sum(layer.weights for layer in layers)
    learned = sum(layer.weights * layer.learned_bits for layer in layers) / total
    stored = sum(layer.weights * layer.stored_bits for layer in layers) / total
    return learned, stored, sum(layer.weights * layer.entropy_bits for layer in layers) / total
