"""Softmax in int8 as CMSIS-NN computes it: gemmlowp's fixed-point arithmetic, to the bit.

ExecuTorch's own cortex_m softmax goes through float32 and misses the kernel by one step in a few of a million elements.
The algorithm is gemmlowp's (fixedpoint.h), with Q5.26 inputs, Q0.31 exponentials and Q12.19 sums.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ONE = 1 << 31
# Q0.31: exp(-1/8), 1/3, and exp(-2^k) for k from -2 to 4, by which what is left of the exponent is multiplied.
_EXP_EIGHTH, _THIRD = 1895147668, 715827883
_EXP_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
# Q2.29: 48/17 and -32/17, the first guess of a reciprocal by Newton's method.
_GUESS, _SLOPE = 1515870810, -1010580540
_SUM_BITS = 12


def softmax_s8(x: Tensor, multiplier: int, shift: int, diff_min: int) -> Tensor:
    """int8 [..., n] over the last axis to int8 in steps of 1/256 from -128.

    `multiplier` and `shift` turn a difference of levels into Q5.26; below `diff_min` a level counts as nothing.
    """
    difference = x.to(torch.int64) - x.to(torch.int64).amax(dim=-1, keepdim=True)
    counts = difference >= diff_min
    scaled = _product(difference.clamp(min=diff_min) << shift, multiplier)
    exponential = _exp(scaled)
    total = torch.where(counts, _halved(exponential, _SUM_BITS), 0).sum(dim=-1, keepdim=True)
    headroom = 31 - torch.log2(total.double()).floor().to(torch.int64)
    inverse = _reciprocal((total << headroom) - _ONE)
    level = _halved(_product(inverse, exponential), 35 - headroom) - 128
    return torch.where(counts, level.clamp(-128, 127), -128).to(torch.int8)


def _exp(x: Tensor) -> Tensor:
    """exp of Q5.26 in (-32, 0] as Q0.31: a polynomial about -1/8, then factors for the bits of what is left."""
    quarter = (x & ((1 << 24) - 1)) - (1 << 24)
    left = quarter - x
    y = (quarter << 5) + (1 << 28)
    square = _product(y, y)
    cubic = _product(_halved(_product(square, square), 2) + _product(square, y), _THIRD) + square
    result = _EXP_EIGHTH + _product(y + _halved(cubic, 1), _EXP_EIGHTH)
    for bit, factor in enumerate(_EXP_POWERS, 24):
        result = torch.where((left >> bit) & 1 == 1, _product(result, factor), result)
    return torch.where(x == 0, _ONE - 1, result)


def _reciprocal(x: Tensor) -> Tensor:
    """1 / (1 + x) of Q0.31 in [0, 1) as Q0.31, by three steps of Newton's."""
    half = (x + _ONE) >> 1
    estimate = _GUESS + _product(half, _SLOPE)
    for _ in range(3):
        estimate = estimate + (_product(estimate, (1 << 29) - _product(half, estimate)) << 2)
    return estimate << 1


def _product(x: Tensor, y: Tensor | int) -> Tensor:
    """The high half of a doubled product, rounded to nearest, half way away from zero."""
    product = x * y
    nudge = torch.where(product < 0, 1 - (1 << 30), 1 << 30)
    return torch.div(product + nudge, _ONE, rounding_mode="trunc")


def _halved(x: Tensor, exponent: Tensor | int) -> Tensor:
    """x / 2^exponent, rounded to nearest, half way away from zero."""
    mask = (torch.ones_like(x) << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))
