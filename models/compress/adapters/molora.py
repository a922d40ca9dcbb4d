"""MoLoRA: each layer has several low-rank updates, the experts; a router gives each of them a share, for every token.

Zadouri, Ustun, Ahmadian, Ermis, Locatelli and Hooker, "Pushing Mixture of Experts to the Limit: Extremely Parameter
Efficient MoE for Instruction Tuning" (ICLR 2024, arXiv 2309.05444, DOI 10.48550/arXiv.2309.05444). The shares are a
softmax of a linear layer on the layer's own input. All experts are mixed (soft merging), or only the best few with
`top`. What depends on the token cannot be merged into the weight: the program holds the parent's weight and the
experts, and computes all of them, also where only a few are mixed.

A program of a whole network with `top` was refused at its export (executorch 1.5.1, a small model): its outputs were
not those of the model, and why is not known. It is no operator of `Experts.shares` alone: in a program of one such
layer, lowered to XNNPACK, each step (softmax, topk, amin, ge, mul, div) equals eager PyTorch to 1e-7, at fixed and at
dynamic lengths.

Differs from the authors' code: A begins as in `lora`, where theirs is Gaussian with a standard deviation of 0.02;
alpha / r is 2 by default, where theirs is 4; and the shares of the `top` experts are divided by their sum, where theirs
are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from harness.models.compress.adapters.adapter import (
    AdapterOptions,
    attach,
    finished_adapters,
    frozen_layers,
    stored_number,
)
from harness.models.compress.adapters.experts import Experts
from harness.models.compress.layers import matrix, shape_of
from harness.models.compress.method import ADAPTERS, TrainedMethod, Weights, check_range
from harness.models.compress.stored import RoutedUpdates, Stored
from harness.models.compress.training import Training


@dataclass(frozen=True, kw_only=True)
class MoloraOptions(AdapterOptions):
    """Those of `lora`, for each expert; how many `experts` a layer has; how many of them, `top`, are mixed for a token
    (None: all). Raises ValueError for a number out of range.
    """

    rank: int = 4
    alpha: float = 8.0
    experts: int = 4
    top: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("experts", self.experts, 2, 256)
        if self.top is not None:
            check_range("top", self.top, 1, self.experts)


class Molora(Training):
    """Adds experts and a router to each linear layer of `model`, whose own parameters are no longer trained."""

    def __init__(self, model: nn.Module, options: MoloraOptions) -> None:
        self.model, self.options = model, options
        self.layers = frozen_layers(model, options)
        self.adapters: dict[str, Experts] = {}
        for name, layer in self.layers.treated.items():
            linear = cast(nn.Linear, layer)
            experts = Experts(linear.in_features, linear.out_features, options.experts, options.rank, options.top)
            self.adapters[name] = experts.drawn(options.scale)
            attach(layer, experts)

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        for name, layer in self.layers.treated.items():
            of = self.adapters[name]
            parts = stored_number(of.router.weight), stored_number(of.reading.weight), stored_number(of.writing.weight)
            stored[name] = RoutedUpdates(matrix(layer), *parts, of.scale, of.top, shape_of(layer))
        return finished_adapters(self.model, self.layers, stored, self.options)


METHOD = TrainedMethod(
    name="molora",
    family=ADAPTERS,
    options=MoloraOptions,
    start=Molora,
    source="Zadouri et al. 2024, arXiv 2309.05444",
)
