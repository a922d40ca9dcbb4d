"""Quantised weights as what they are, small integers and a power of two for each group that shares a scale; and what
they cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Code:
    """The weights of one linear layer [out, in]: 2^exponent * level.

    `levels` int8 [out, in]; `exponents` and `bits` float16 [out, groups], where a group is in/groups columns of a row
    side by side (one group a row: per channel). `bits` is what training paid for, which need not be a whole number.
    Exponents are float16 because they are stored so; a model is evaluated with what its code gives, so nothing is lost.
    """

    levels: Tensor
    exponents: Tensor
    bits: Tensor

    def weight(self) -> Tensor:
        """float32 [out, in]."""
        steps = torch.exp2(self.exponents.float())
        return self.levels * steps.repeat_interleave(self.levels.size(1) // steps.size(1), dim=1)


@dataclass(frozen=True)
class LayerReport:
    """One compressed layer. Bits are a weight; `zero_weights` and `dead_rows` are fractions of 1.

    `learned_bits` is b, what training paid for. `stored_bits` is what a fixed-length code needs: a row with n different
    values takes ceil(log2 n) bits per weight. `entropy_bits` is the entropy of a row's values, the limit of a
    variable-length code. None of them counts the exponents or the codes' headers.
    """

    layer: str
    weights: int
    learned_bits: float
    stored_bits: float
    entropy_bits: float
    zero_weights: float
    dead_rows: float


def report_layer(name: str, code: Code) -> LayerReport:
    """Figures of one layer from its `code`."""
    stored, entropy = 0.0, 0.0
    for row in code.levels:
        _, counts = row.unique(return_counts=True)
        fractions = counts / row.numel()
        stored += math.ceil(math.log2(len(counts)))
        entropy -= (fractions * fractions.log2()).sum().item()
    rows, zero = code.levels.size(0), code.levels == 0
    return LayerReport(
        layer=name,
        weights=code.levels.numel(),
        learned_bits=code.bits.float().mean().item(),
        stored_bits=stored / rows,
        entropy_bits=entropy / rows,
        zero_weights=zero.float().mean().item(),
        dead_rows=zero.all(dim=1).float().mean().item(),
    )


def report(codes: dict[str, Code]) -> list[LayerReport]:
    """One `LayerReport` a quantised layer, in the order of `codes`."""
    return [report_layer(name, code) for name, code in codes.items()]


def bits_per_weight(layers: list[LayerReport]) -> tuple[float, float, float]:
    """Learned, stored and entropy bits per weight over all compressed layers."""
    total = sum(layer.weights for layer in layers)
    learned = sum(layer.weights * layer.learned_bits for layer in layers) / total
    stored = sum(layer.weights * layer.stored_bits for layer in layers) / total
    return learned, stored, sum(layer.weights * layer.entropy_bits for layer in layers) / total
