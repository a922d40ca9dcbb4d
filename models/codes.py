"""Quantised weights as what they are: small integers, and a power of two for each group that shares a scale."""

from __future__ import annotations

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
