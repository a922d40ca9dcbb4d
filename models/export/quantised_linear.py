"""Linear layers in small integers, written so that XNNPACK takes them as they are.

A layer computes x W^T with W = step * level. Levels are int8 or int4, with one step an output channel or one a group of
32 inputs; activations are rounded to int8 with a scale and a zero point of their own for every token of every call.
The operators of `rounded` and `product` are the pattern that ExecuTorch's partitioner turns into one fully connected
node (`qd8` in XNNPACK's names), so no observer stands between the integers given here and those in the file. torchao's
own tensors would not do: of their int4 ExecuTorch makes groups with bfloat16 steps also where a step is a whole
channel's. In eager PyTorch the same operators compute what the file will, up to ties of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Registers the operators that are named by torch.ops below.
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 32
"""Inputs that share a step under int4-group32; XNNPACK takes multiples of 32 and no less."""
RANGES = {4: (-8, 7), 8: (-128, 127)}
"""The least and the greatest level that so many bits hold."""
EXACT = 1e-6
"""Greatest relative error of a weight that still counts as step * level: a few roundings of float32."""


@dataclass(frozen=True)
class Levels:
    """Weights [out, in] as integers: `levels` int8 [out, in]; `step` float32 [out], or [out, in / 32] group by group.

    `bits` is the width they are stored at, 4 or 8, see `RANGES`.
    """

    levels: Tensor
    step: Tensor
    bits: int


def exact_levels(weight: Tensor) -> Levels | None:
    """The integers that `weight` [out, in] consists of, row by row, if it does so within `EXACT`; else None.

    The smallest weight of a row is some level of at most 128, so that many steps are tried, the coarsest first. A step
    that is a multiple of the trained one serves as well: what is computed is the same.
    """
    weight = weight.detach().float()
    magnitude = weight.abs()
    smallest = magnitude.masked_fill(magnitude == 0, torch.inf).amin(dim=1)
    few = weight[:, :8].contiguous()  # enough of a row to turn down nearly every wrong step
    levels, step = torch.zeros_like(weight, dtype=torch.int8), torch.ones(weight.size(0))
    left = smallest.isfinite().nonzero().flatten()  # a row of zeros is level 0 at any step
    for divisor in range(1, 1 - RANGES[8][0]):
        if not len(left):
            break
        hopeful = left[_multiples(few[left], smallest[left] / divisor)]
        fitting = hopeful[_multiples(weight[hopeful], smallest[hopeful] / divisor)]
        if len(fitting):
            step[fitting] = smallest[fitting] / divisor
            levels[fitting] = (weight[fitting] / step[fitting, None]).round().to(torch.int8)
            left = left[~torch.isin(left, fitting)]
    if len(left):
        return None
    return Levels(levels, step, 4 if levels.min() >= RANGES[4][0] and levels.max() <= RANGES[4][1] else 8)


def _multiples(weight: Tensor, step: Tensor) -> Tensor:
    """Which rows of `weight` [rows, in] are levels of 8 bits times their `step` [rows], within `EXACT`: bool [rows]."""
    levels, (low, high) = (weight / step[:, None]).round(), RANGES[8]
    wrong = (weight - levels * step[:, None]).abs() > EXACT * weight.abs()
    return ~((levels < low) | (levels > high) | wrong).any(dim=1)


def grouped_levels(weight: Tensor) -> Levels | None:
    """As `exact_levels`, for a step a group of 32 inputs and int4: what a model with bits a block consists of, where no
    column was cut. Steps are rounded to the bfloat16 that XNNPACK keeps, which leaves powers of two as they are.
    """
    if weight.size(1) % GROUP:
        return None
    exact = exact_levels(weight.reshape(-1, GROUP))
    if exact is None or exact.bits != 4:
        return None
    return Levels(exact.levels.view_as(weight), exact.step.view(weight.size(0), -1).to(torch.bfloat16).float(), 4)


def rounded_levels(weight: Tensor, bits: int, group: int | None = None) -> Levels:
    """`weight` [out, in] rounded to `bits` bits by torchao, with the steps of its
    `Int8DynamicActivationIntxWeightConfig` (the `8da8w` and `8da4w` of ExecuTorch's own export of language models): one
    for each output channel, or one for each `group` of its inputs, whose number must be a multiple of it.
    """
    # Imported late: where weights are integers already nothing is rounded, and torchao takes seconds.
    from torchao.quantization import MappingType, choose_qparams_affine, quantize_affine

    weight, (low, high) = weight.detach().float().contiguous(), RANGES[bits]
    block = (1, group or weight.size(1))
    step, zero = choose_qparams_affine(weight, MappingType.SYMMETRIC, block, torch.int8, low, high, keepdim=True)
    if group is not None:
        # XNNPACK keeps the steps of groups in bfloat16: rounding is done to the step that it will use.
        step = step.to(torch.bfloat16).float()
    levels = quantize_affine(weight, block, step, zero, torch.int8, low, high)
    return Levels(levels, step[:, 0] if group is None else step, bits)


def integers(weight: Tensor, precision: str) -> Levels:
    """`weight` [out, in] as `precision` stores it: `int8`, `int4-channel` or `int4-group32`.

    Weights that are integers already stay exactly these, in int4 only where `precision` says so and they fit; those
    that are so by groups, under int4-group32 only. Others are rounded, to int8 also under int4-group32 where the inputs
    are no multiple of a group. An odd number of inputs is never int4: on more than one thread XNNPACK (of ExecuTorch
    1.5.1) then gets every token but the first wrong.
    """
    exact, four = exact_levels(weight), precision != "int8" and weight.size(1) % 2 == 0
    if exact is not None:
        return exact if four else Levels(exact.levels, exact.step, 8)
    if precision == "int4-group32":
        if weight.size(1) % GROUP:
            return rounded_levels(weight, 8)
        return grouped_levels(weight) or rounded_levels(weight, 4, GROUP)
    return rounded_levels(weight, 4 if four else 8)


def rounded(x: Tensor) -> Tensor:
    """x [..., in] rounded to int8 token by token, and back in float32."""
    ops = torch.ops.quantized_decomposed
    scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
    levels = ops.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
    back: Tensor = ops.dequantize_per_token(levels, scale, zero, -128, 127, torch.int8, torch.float32)
    return back


class QuantisedLinear(nn.Module):
    """x [..., in] to x W^T [..., out], and `bias` [out] added, x rounded to int8 token by token."""

    levels: Tensor
    step: Tensor
    zeros: Tensor
    bias: Tensor | None

    def __init__(self, weight: Levels, bias: Tensor | None = None) -> None:
        super().__init__()
        self.low, self.high = RANGES[weight.bits]
        self.register_buffer("levels", weight.levels)
        self.register_buffer("step", weight.step)
        self.register_buffer("zeros", torch.zeros_like(weight.step, dtype=torch.int32))
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(rounded(x))

    def product(self, x: Tensor) -> Tensor:
        """The same for an x that is `rounded` already, which layers of one input can share."""
        ops = torch.ops.quantized_decomposed
        if self.step.dim() == 1:
            weight = ops.dequantize_per_channel(self.levels, self.step, self.zeros, 0, self.low, self.high, torch.int8)
        else:
            weight = ops.dequantize_per_channel_group(
                self.levels, self.step, self.zeros, self.low, self.high, torch.int8, GROUP, torch.float32
            )
        return F.linear(x, weight, self.bias)
