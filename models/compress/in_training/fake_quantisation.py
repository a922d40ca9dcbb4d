"""Weights and activations that a model is trained with as if they were rounded already; their type stays float32.

The gradient passes through the rounding unchanged (the straight-through estimator: Bengio, Leonard and Courville,
arXiv 1308.3432, DOI 10.48550/arXiv.1308.3432).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.models.compress.rounding import SMALLEST, grouped, nearest

Steps = Callable[[Tensor], Tensor]
"""The steps [out, groups] of a weight [out, in]."""


class Rounding(nn.Module):
    """A parametrization of a weight: the layer computes with the nearest symmetric levels of `bits` bits."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def steps(self, weight: Tensor) -> Tensor:
        """The steps [out, groups] with which `weight` [out, in] is rounded."""
        raise NotImplementedError


class FakeQuantised(Rounding):
    """Rounding with the steps that `steps_of` computes again from the weights at each call. In training only a random
    `share` of the weights is rounded, another one at each call.
    """

    def __init__(self, bits: int, steps_of: Steps, share: float = 1.0) -> None:
        super().__init__(bits)
        self.steps_of, self.share = steps_of, share

    def steps(self, weight: Tensor) -> Tensor:
        return self.steps_of(weight)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            matrix = weight.detach().float().flatten(1)
            steps = self.steps(matrix)
            parts = grouped(matrix, matrix.size(1) // steps.size(1))
            rounded = (nearest(parts, steps, self.bits) * steps[:, :, None]).view_as(weight)
            if self.training and self.share < 1:
                rounded = torch.where(torch.rand_like(rounded) < self.share, rounded, weight)
        return weight + (rounded - weight).detach()


def fake_quantise(layer: nn.Module, rounding: Rounding) -> None:
    """Register `rounding` on `layer`: from now on the layer computes with rounded weights."""
    parametrize.register_parametrization(layer, "weight", rounding, unsafe=True)


def trained_weight(layer: nn.Module) -> Tensor:
    """The float32 matrix [out, in], not rounded, of a layer that was given to `fake_quantise`."""
    original: Tensor = layer.parametrizations.weight.original  # type: ignore[union-attr, assignment]
    return original.detach().float().flatten(1)


def round_inputs(layer: nn.Module, bits: int) -> None:
    """Round the inputs of `layer` to `bits` bits, with a scale and a zero point for each token, as programs of integers
    do.
    """
    layer.register_forward_pre_hook(lambda _, inputs: (rounded_tokens(inputs[0], bits), *inputs[1:]))


def rounded_tokens(x: Tensor, bits: int) -> Tensor:
    """`x` [..., channels], each row rounded to the nearest of 2^bits levels, which go from its least value to its
    greatest and include 0. The gradient is that of `x`.
    """
    with torch.no_grad():
        least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        values = x.detach().float()
        low, high = values.amin(dim=-1, keepdim=True).clamp(max=0), values.amax(dim=-1, keepdim=True).clamp(min=0)
        steps = ((high - low) / (most - least)).clamp(min=SMALLEST)
        zeros = (least - low / steps).round()
        rounded = ((values / steps + zeros).round().clamp(least, most) - zeros) * steps
    return x + (rounded.to(x.dtype) - x).detach()
