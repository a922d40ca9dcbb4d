"""Embedding tables of an exported program, in float32 or in int8.

In int8 a row has a step of its own, as in the file of trained weights and as in the readout, whose output channels are
the rows of the token table: all three hold the same integers.

The int8 form is written in operators that every build of ExecuTorch has; its own `quantized_decomposed::embedding_byte`
is a library that a runtime must be linked with, and Python's is not. Integers become float32 by an operator that
XNNPACK takes, with a step of 1: the conversion by `float()` was 4 % of a prompt of 128 tokens at six blocks of 384.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.models.export.quantised_linear import integers


class Table(nn.Module):
    """Rows of `weight` [rows, W] in float32."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())

    def rows(self, index: Tensor) -> Tensor:
        """index int64 [...] to float32 [..., W]."""
        return F.embedding(index, self.weight)

    def stretch(self, start: int, length: int) -> Tensor:
        """Rows `start` to `start + length`, float32 [length, W]."""
        return self.weight.narrow(0, start, length)


class QuantisedTable(nn.Module):
    """`Table` in int8, with a step per row; rows that are small integers already are kept exactly."""

    levels: Tensor
    step: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = integers(weight, "int8")
        self.register_buffer("levels", rows.levels)
        self.register_buffer("step", rows.step[:, None])

    def rows(self, index: Tensor) -> Tensor:
        """index int64 [...] to float32 [..., W]."""
        return self._product(F.embedding(index, self.levels), F.embedding(index, self.step))

    def stretch(self, start: int, length: int) -> Tensor:
        """Rows `start` to `start + length`, float32 [length, W]."""
        return self._product(self.levels.narrow(0, start, length), self.step.narrow(0, start, length))

    @staticmethod
    def _product(levels: Tensor, step: Tensor) -> Tensor:
        dequantize = torch.ops.quantized_decomposed.dequantize_per_tensor
        product: Tensor = dequantize(levels, 1.0, 0, -128, 127, torch.int8) * step
        return product
