"""Self-compression: the network learns how many bits each of its channels deserves, down to none.

Cséfalvay and Imber, "Self-Compressing Neural Networks" (arXiv 2301.13142). Every output channel of a linear layer has
a bit depth b >= 0 and an exponent e, both trained with the weights:

    q(x; b, e) = 2^e * round(clamp(2^-e x, -2^(b-1), 2^(b-1) - 1)),    the derivative of round taken as 1
    loss = L0 + gamma * Q,    Q = sum over channels of b * fan_in / weights, in bits per weight

A channel at b = 0 is zero whatever its weights, and can be cut out of the network (`shrinking`). Here the four linear
layers of each block are compressed; embeddings and norms stay float32. b is projected to b >= 0 after each update, not
clipped inside q, so that a channel whose gradient wants it back can grow again. When Q reaches its target b is frozen,
and weights and exponents are trained on while the learning rate falls: that is where the loss recovers. The exponents
are rounded to float16 as they are used, with derivative 1, because they are stored so: what is trained is what is kept.

Two options. What shares b and e may be a block of a channel's columns instead of the whole channel. And half of what
a channel costs may be the time that removing it saves, the other half being its weights:

    P = sum over channels of b * price(kind of layer) / sum of all prices,    b the mean over a channel's blocks

and (P + Q) / 2 takes the place of Q in the loss; it is Q where all b are equal, and for prices proportional to fan_in,
so that gamma keeps its meaning. The target stays one of Q. A price is a mean over many channels that were cut out of a
program that was timed before and after: it includes what goes with a row (the column of `out` that read a row of `fc`,
the column of `proj` that read a value), and half of what a pair of query and key rows saves, for neither goes alone. A
kind of layer whose rows save no time has the price 0, and Q alone sees to its bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.errors import ModelError, UsageError
from harness.models.compress.codes import Code
from harness.models.compress.objective import Objective
from harness.models.gpt.network import GPT
from harness.models.recipe import CompressionRecipe, used


def round_to_half(x: Tensor) -> Tensor:
    """The nearest float16 of each of `x`, in `x`'s own type, with derivative 1."""
    return x + (x.half().to(x.dtype) - x).detach()


round_in_place = torch.round_  # named here so that a test can leave the rounding out


class _Quantise(torch.autograd.Function):
    """q for `groups` [out, groups, in / groups], `bits` and `exponent` [out, groups, 1].

    Its derivatives are written out: those that autograd makes of the formula take 2.5 times as long, which is a fifth
    of a training step. With s = 1 for a weight clipped from above, -1 for one clipped from below, 0 for one inside:

        dq/dx = 1 if s = 0 else 0,    dq/db = ln 2 * 2^e * 2^(b-1) * s,    dq/de = ln 2 * (q - x if s = 0 else q)
    """

    @staticmethod
    def forward(ctx: Any, groups: Tensor, bits: Tensor, exponent: Tensor) -> Tensor:
        step, half = torch.exp2(exponent), torch.exp2(bits - 1)
        levels = groups / step
        clamped = torch.maximum(torch.minimum(levels, half - 1), -half)
        side = levels.sub_(clamped).sign_()
        quantised = round_in_place(clamped).mul_(step)
        ctx.save_for_backward(groups, side, quantised, step, half)
        return quantised

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        groups, side, quantised, step, half = ctx.saved_tensors
        of_groups = (1 - side.abs()).mul_(gradient)
        of_bits = (gradient * side).sum(2, keepdim=True) * step * half
        of_exponent = (gradient * quantised).sum(2, keepdim=True) - (of_groups * groups).sum(2, keepdim=True)
        return of_groups, math.log(2) * of_bits, math.log(2) * of_exponent


def quantise(weight: Tensor, bits: Tensor, exponent: Tensor) -> Tensor:
    """q(x; b, e) of the module's heading, for `weight` [out, in], which it returns.

    `bits` and `exponent` are [out, groups] each, a group being in/groups columns side by side. The derivative of round
    is taken as 1 (the straight-through estimator, Bengio et al., arXiv 1308.3432); that of b at 0 is from the right.
    """
    groups = weight.reshape(*exponent.shape, -1)
    quantised: Tensor = _Quantise.apply(  # type: ignore[no-untyped-call]
        groups, bits.unsqueeze(2), exponent.unsqueeze(2)
    )
    return quantised.view_as(weight)


class SelfCompressed(nn.Module):
    """A parametrization of a weight [out, in]: the module computes with q(weight), and trains b and e beside it.

    `bits` and `exponent` are float32 [out, in / block].
    """

    def __init__(self, weight: Tensor, initial_bits: float, block: int | None = None) -> None:
        super().__init__()
        groups = weight.detach().reshape(weight.size(0), -1, block or weight.size(1))
        largest = groups.abs().amax(dim=2).clamp(min=torch.finfo(torch.float32).tiny)
        self.bits = nn.Parameter(torch.full_like(largest, initial_bits))
        self.exponent = nn.Parameter(torch.log2(largest) - (initial_bits - 1))

    def forward(self, weight: Tensor) -> Tensor:
        return quantise(weight, self.bits, round_to_half(self.exponent))

    def code(self, weight: Tensor) -> Code:
        """What the module computes with, as integers. Raises ModelError where they need more than 8 bits."""
        exponents, bits = self.exponent.detach().half(), self.bits.detach().half()
        steps = torch.exp2(exponents.float()).unsqueeze(2)
        levels = (self(weight.detach()).detach().reshape(*steps.shape[:2], -1) / steps).round()
        if levels.min() < -128 or levels.max() > 127:
            raise ModelError(
                f"A layer has weights from {levels.min():g} to {levels.max():g} steps, more than 8 bits hold.",
                "Train it longer, or with a larger gamma.",
            )
        return Code(levels.view_as(weight).to(torch.int8), exponents, bits)


def block_linears(model: GPT) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers inside the blocks, named, first to last."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name, module


def compress(model: GPT, initial_bits: float, block: int | None = None) -> dict[str, SelfCompressed]:
    """Make every block's linear layers self-compressed, in place; returns each one's parametrization by layer name.

    Raises UsageError where `block` columns do not divide a layer's inputs.
    """
    layers = {}
    for name, linear in list(block_linears(model)):
        if block is not None and linear.in_features % block:
            raise UsageError(
                f"Blocks of {block} columns do not divide the {linear.in_features} inputs of {name}.",
                "Choose a `block` that divides the width of the model.",
            )
        layers[name] = SelfCompressed(linear.weight, initial_bits, block)
        parametrize.register_parametrization(linear, "weight", layers[name])
    return layers


def quantised_codes(model: GPT) -> dict[str, Code]:
    """The code of every layer of `model` that a parametrization with a method `code` quantises, by layer name."""
    codes = {}
    for name, linear in block_linears(model):
        if parametrize.is_parametrized(linear, "weight"):
            chain = cast(Any, linear).parametrizations.weight
            codes[name] = chain[0].code(chain.original)
    return codes


def shares(amounts: dict[str, float]) -> dict[str, float]:
    """Each amount as a fraction of their sum."""
    total = sum(amounts.values())
    return {name: amount / total for name, amount in amounts.items()}


class SelfCompression(Objective):
    """What self-compression adds to a training run of `model`, whose block layers it replaces."""

    def __init__(self, model: GPT, recipe: CompressionRecipe) -> None:
        self.recipe = recipe
        linears = dict(block_linears(model))
        self.layers = compress(model, recipe.initial_bits, recipe.block)
        self.sizes = shares({name: linear.weight.numel() for name, linear in linears.items()})
        self.prices = self.sizes
        if recipe.prices is not None:
            prices = recipe.prices
            of_time = shares(
                {name: linear.out_features * prices[name.rpartition(".")[2]] for name, linear in linears.items()}
            )
            self.prices = {name: (of_time[name] + size) / 2 for name, size in self.sizes.items()}
        self.frozen_after: int | None = None

    def learned_bits(self) -> Tensor:
        """Q, bits per weight: a scalar with a gradient."""
        return self._mean_bits(self.sizes)

    def description(self) -> dict[str, Any]:
        return used(self.recipe)

    def parameter_groups(self) -> list[dict[str, Any]]:
        layers = self.layers.values()
        return [
            {"params": [layer.bits for layer in layers], "lr": self.recipe.bits_rate},
            {"params": [layer.exponent for layer in layers], "lr": self.recipe.exponent_rate},
        ]

    def penalty(self) -> Tensor | float:
        return self.recipe.gamma * self._mean_bits(self.prices) if self.frozen_after is None else 0.0

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

    def codes(self, model: GPT) -> dict[str, Code]:
        return quantised_codes(model)

    def _mean_bits(self, weighing: dict[str, float]) -> Tensor:
        """The mean of b over layers, each `weighing` so much of 1; a layer's groups are alike."""
        return torch.stack([layer.bits.mean() * weighing[name] for name, layer in self.layers.items()]).sum()

    def _freeze(self, step: int) -> None:
        """From here on b is constant: without a gradient AdamW leaves it alone."""
        self.frozen_after = step
        for layer in self.layers.values():
            layer.bits.requires_grad_(False)
