"""Low-rank updates that a router mixes for each token, as a module that is trained and as one that is exported."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Experts(nn.Module):
    """x [..., in] to scale * sum over experts of share(x) B A x, [..., out].

    The A of all experts are one matrix [experts rank, in], their B one [out, experts rank]: two products for all. Only
    the last dimension has a fixed size, so that a program takes texts of any length.
    """

    spread: Tensor

    def __init__(self, inputs: int, outputs: int, experts: int, rank: int, top: int | None) -> None:
        super().__init__()
        self.top, self.scale = top, 1.0
        self.router = nn.Linear(inputs, experts, bias=False)
        self.reading = nn.Linear(inputs, experts * rank, bias=False)
        self.writing = nn.Linear(experts * rank, outputs, bias=False)
        # [experts rank, experts]: a product with it gives each expert's share to all of its ranks.
        self.register_buffer("spread", torch.eye(experts).repeat_interleave(rank, dim=0), persistent=False)

    def drawn(self, scale: float) -> Experts:
        """Itself, with the numbers of the start of training: B zeros, so that nothing is added, and a router that gives
        all experts nearly the same share.
        """
        self.scale = scale
        nn.init.normal_(self.router.weight, std=0.02)
        nn.init.kaiming_uniform_(self.reading.weight, a=math.sqrt(5))
        nn.init.zeros_(self.writing.weight)
        return self

    def shares(self, x: Tensor) -> Tensor:
        """The share of each expert [..., experts]; those of a token add up to 1."""
        shares = F.softmax(self.router(x), dim=-1)
        if self.top is None:
            return shares
        least = torch.topk(shares, self.top, dim=-1).values.amin(dim=-1, keepdim=True)
        shares = shares * (shares >= least)
        return shares / shares.sum(dim=-1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        updates: Tensor = self.writing(self.reading(x) * F.linear(self.shares(x), self.spread))
        return updates * self.scale


class ExpertsLinear(nn.Module):
    """The sum of a linear layer and of experts with the same input: x [..., in] to [..., out]."""

    def __init__(self, base: nn.Linear, experts: Experts) -> None:
        super().__init__()
        self.base, self.experts = base, experts

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base(x) + self.experts(x)
        return output

    def mapped(self, rows: Callable[[Tensor], Tensor]) -> ExpertsLinear:
        """The layer with the function `rows`, [out, n] to [new out, n], applied to its weight and to the experts' last
        matrix. The result has no bias.
        """
        weight, writing = rows(self.base.weight.detach()), rows(self.experts.writing.weight.detach())
        made = Experts(
            weight.size(1),
            weight.size(0),
            self.experts.spread.size(1),
            self.experts.spread.size(0) // self.experts.spread.size(1),
            self.experts.top,
        )
        made.scale = self.experts.scale
        made.router, made.reading = self.experts.router, self.experts.reading
        made.writing.weight = nn.Parameter(writing.clone())
        base = nn.Linear(weight.size(1), weight.size(0), bias=False)
        base.weight = nn.Parameter(weight.clone())
        return ExpertsLinear(base, made)
