"""Steps of integer grids, and the nearest level of each weight: what the methods after training share.

Symmetric levels of b bits go from -2^(b-1) to 2^(b-1) - 1. A matrix is [out, in], in groups of columns that share a
step: [out, groups, in / groups] where that is written out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.models.compress.stored import Integers

SMALLEST = torch.finfo(torch.float32).eps
"""The least step, that of a group of zeros."""
SEARCHED = 64
"""Steps that `searched_steps` tries for each group."""
LEAST_SHARE = 0.25
"""Of the step that reaches the largest weight: the smallest step that is tried."""


def limits(bits: int) -> tuple[int, int]:
    """The least and the greatest symmetric level of so many bits."""
    half = 1 << (bits - 1)
    return -half, half - 1


def grouped(weight: Tensor, group: int | None) -> Tensor:
    """`weight` [out, in] as [out, groups, columns of a group]; None is a group of all columns."""
    return weight.reshape(weight.size(0), -1, group or weight.size(1))


def absmax(weight: Tensor, bits: int, shape: torch.Size, *, per_tensor: bool = False) -> Integers:
    """The absmax code: step = max |w| / (2^(b-1) - 1), level = round(w / step), for each row or once for all rows."""
    largest = weight.abs().amax(dim=1, keepdim=True)
    if per_tensor:
        largest = largest.amax().expand_as(largest)
    steps = (largest / limits(bits)[1]).clamp(min=SMALLEST)
    return round_to_nearest(weight, steps, bits, shape)


def symmetric_steps(weight: Tensor, bits: int, group: int | None = None) -> Tensor:
    """Steps [out, groups] = max |w| / ((2^b - 1) / 2), so that the largest weight lies half a level beyond the last
    positive one: the step of torchao's symmetric int4 and of GPTQ's.
    """
    largest = grouped(weight, group).abs().amax(dim=2)
    return stored_steps((largest / (((1 << bits) - 1) / 2)).clamp(min=SMALLEST))


def stored_steps(steps: Tensor) -> Tensor:
    """The steps that a program computes with: those of groups are rounded to bfloat16, as XNNPACK keeps them."""
    return steps if steps.size(1) == 1 else steps.to(torch.bfloat16).float()


def searched_steps(weight: Tensor, bits: int, group: int | None = None, importance: Tensor | None = None) -> Tensor:
    """Of `SEARCHED` steps from `symmetric_steps` down to `LEAST_SHARE` of them, those [out, groups] with the least sum
    of squared rounding errors, each weighed by its column's `importance` [in].
    """
    parts, most = grouped(weight, group), symmetric_steps(weight, bits, group)
    weighing = torch.ones(weight.size(1)) if importance is None else importance
    weighing = weighing.view(1, parts.size(1), -1)
    best, least = most.clone(), torch.full_like(most, torch.inf)
    for share in torch.linspace(1.0, LEAST_SHARE, SEARCHED).tolist():
        steps = stored_steps(most * share).clamp(min=SMALLEST)
        errors = ((nearest(parts, steps, bits) * steps[:, :, None] - parts).square() * weighing).sum(dim=2)
        best = torch.where(errors < least, steps, best)
        least = torch.minimum(errors, least)
    return best


def nearest(parts: Tensor, steps: Tensor, bits: int) -> Tensor:
    """The nearest symmetric level of each weight of `parts` [out, groups, n], as float32."""
    return (parts / steps[:, :, None]).round().clamp(*limits(bits))


def round_to_nearest(weight: Tensor, steps: Tensor, bits: int, shape: torch.Size) -> Integers:
    """`weight` [out, in] at the nearest symmetric level of its group, `steps` [out, groups]."""
    levels = nearest(grouped(weight, weight.size(1) // steps.size(1)), steps, bits)
    return Integers(levels.view_as(weight).to(torch.int8), steps, bits, shape)


def asymmetric_grid(weight: Tensor, bits: int, group: int | None, *, per_tensor: bool = False) -> tuple[Tensor, Tensor]:
    """Steps and zero points [out, groups] of the levels 0 to 2^b - 1 that reach from the least weight to the greatest,
    0 among them: step = (max - min) / (2^b - 1), zero = round(-min / step).
    """
    parts = grouped(weight, group)
    low, high = parts.amin(dim=2).clamp(max=0), parts.amax(dim=2).clamp(min=0)
    if per_tensor:
        low, high = low.amin().expand_as(low), high.amax().expand_as(high)
    steps = ((high - low) / ((1 << bits) - 1)).clamp(min=SMALLEST)
    return steps, (-low / steps).round()


def round_asymmetric(weight: Tensor, steps: Tensor, zeros: Tensor, bits: int, shape: torch.Size) -> Integers:
    """`weight` [out, in] at the nearest level of its group, round(w / step + zero), from 0 to 2^b - 1."""
    parts = grouped(weight, weight.size(1) // steps.size(1))
    levels = (parts / steps[:, :, None] + zeros[:, :, None]).round().clamp(0, (1 << bits) - 1)
    return Integers(levels.view_as(weight).to(torch.uint8), steps, bits, shape, zeros)
