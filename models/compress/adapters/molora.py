"""MoLoRA: several low-rank updates of each layer, of which a router takes its share of each for every token.

Zadouri, Ustun, Ahmadian, Ermis, Locatelli and Hooker, "Pushing Mixture of Experts to the Limit: Extremely Parameter
Efficient MoE for Instruction Tuning" (ICLR 2024, arXiv 2309.05444, DOI 10.48550/arXiv.2309.05444). The shares are a
softmax of a linear layer on the layer's own input; the paper mixes all experts (soft merging), `top` only the best few,
whose shares are divided by their sum. What depends on the token cannot be merged into the weight: the program has the
parent's weight and the experts beside it, and computes all of them, also where only a few are mixed.

A program of a whole network with `top` was refused when it was built (executorch 1.5.1, a small model): it did not
compute what the model does, and why is not known. It is no operator of `Experts.shares` alone: in a program of one such
layer, lowered to XNNPACK, each step (softmax, topk, amin, ge, mul, div) equals eager PyTorch to 1e-7, at fixed and at
dynamic lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from harness.models.compress.adapters.adapter import AdapterOptions, attach, frozen_layers, stored_number
from harness.models.compress.adapters.experts import Experts
from harness.models.compress.layers import finished, matrix, shape_of
from harness.models.compress.method import ADAPTERS, TrainedMethod, Weights, check_range
from harness.models.compress.stored import RoutedUpdates, Stored, adapter_bytes
from harness.models.compress.training import Training


@dataclass(frozen=True, kw_only=True)
class MoloraOptions(AdapterOptions):
    """`experts` of each layer, each of `rank`; `top` of them are mixed for a token, None: all."""

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
    """Experts and a router for each linear layer of `model`, whose own parameters are no longer trained."""

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
        weights = finished(self.model, self.layers, stored, self.options)
        weights.facts["adapter_bytes"] = adapter_bytes(stored)
        return weights


METHOD = TrainedMethod(
    name="molora",
    family=ADAPTERS,
    options=MoloraOptions,
    start=Molora,
    source="Zadouri et al. 2024, arXiv 2309.05444",
)
