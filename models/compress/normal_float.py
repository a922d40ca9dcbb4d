"""Four-bit normal floats (NF4): levels that normally distributed numbers use equally often, and a scale for each block.

Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (arXiv 2305.14314, DOI 10.48550/arXiv.2305.14314),
section 3. Blocks are of 64 weights along the flattened matrix, each with its largest absolute weight as its scale.
Double quantisation subtracts the mean of these scales from them and stores the rest in 8-bit floats (e4m3), with a
factor for each block of 256 scales. The paper does not say which 8-bit float; bitsandbytes uses a table of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

BITS, BLOCK, BLOCK_OF_SCALES = 4, 64, 256
FLOAT8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(FLOAT8).max
_SMALLEST = torch.finfo(torch.float32).tiny


@cache
def levels() -> Tensor:
    """The 16 levels, float32, ascending from -1 to 1: quantiles of the normal distribution, 8 of its lower half with
    the median and 9 of its upper half with it, of which one 0 is left. The outermost lie half a step of 15 and of 16
    levels, on average, from the ends.
    """
    end = 1 - (1 / (2 * 15) + 1 / (2 * 16)) / 2
    above = torch.special.ndtri(torch.linspace(0.5, end, 9, dtype=torch.float64))
    below = -torch.special.ndtri(torch.linspace(end, 0.5, 8, dtype=torch.float64))
    found = torch.cat([below, above[1:]])
    return (found / found[-1]).float()


@dataclass(frozen=True)
class NormalFloat:
    """Weights at the levels of a normal float: `indices` uint8 [weights] and a scale for each block of them.

    `scales` is float32 [blocks]; where they are quantised it is float8 [blocks], with `factors` float32 [blocks / 256]
    and `mean` float32 [1]: scale = float8 * factor + mean.
    """

    indices: Tensor
    scales: Tensor
    factors: Tensor | None
    mean: Tensor | None
    shape: torch.Size

    def block_scales(self) -> Tensor:
        """The scale of each block, float32 [blocks]."""
        if self.factors is None or self.mean is None:
            return self.scales
        factors = self.factors.repeat_interleave(BLOCK_OF_SCALES)[: len(self.scales)]
        return self.scales.float() * factors + self.mean

    def weight(self) -> Tensor:
        """float32, in `shape`."""
        scales = self.block_scales().repeat_interleave(BLOCK)[: len(self.indices)]
        return (levels()[self.indices.long()] * scales).view(self.shape)

    def size_bits(self) -> int:
        """Bits of indices, scales, factors and mean."""
        parts = [self.scales, *(part for part in (self.factors, self.mean) if part is not None)]
        return self.indices.numel() * BITS + 8 * sum(part.nbytes for part in parts)


def quantise(weight: Tensor, double: bool) -> NormalFloat:
    """`weight` float32, each number at the nearest level of its block; with `double` the scales are quantised too, and
    the levels are those of the scales as they are stored.
    """
    flat = weight.flatten()
    blocks = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(dim=1)
    stored, factors, mean = scales, None, None
    if double:
        mean = scales.mean().view(1)
        off = F.pad(scales - mean, (0, -len(scales) % BLOCK_OF_SCALES)).view(-1, BLOCK_OF_SCALES)
        factors = (off.abs().amax(dim=1) / _LARGEST).clamp(min=_SMALLEST)
        stored = (off / factors[:, None]).clamp(-_LARGEST, _LARGEST).to(FLOAT8).flatten()[: len(scales)]
    # A scale rounded down to 0 or below would change the signs of its block, whose weights get level 0 instead.
    used = NormalFloat(flat.to(torch.uint8), stored, factors, mean, weight.shape).block_scales()
    middles = (levels()[1:] + levels()[:-1]) / 2
    relative = torch.where(used[:, None] > 0, blocks / used[:, None].clamp(min=_SMALLEST), torch.zeros(()))
    indices = torch.bucketize(relative.contiguous(), middles).flatten()[: len(flat)]
    return NormalFloat(indices.to(torch.uint8), stored, factors, mean, weight.shape)
