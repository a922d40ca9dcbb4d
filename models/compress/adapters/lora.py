"""LoRA: a low-rank update of each linear layer is learned, W + (alpha / r) B A, and nothing else.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022,
arXiv 2106.09685, DOI 10.48550/arXiv.2106.09685). It makes small what is trained, and what is stored of a model whose
parent is available: a few numbers in float16. The program is neither smaller nor faster than the parent's: the update
is added to the weight before the program is exported, so that it has the same float32 layers, 32 bits a weight.

Differs from the paper: every linear layer has an update by default, where the paper's experiments adapt attention only.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from harness.models.compress.adapters.adapter import AdapterOptions, LowRank, attach, finished_adapters, frozen_layers
from harness.models.compress.layers import matrix, shape_of
from harness.models.compress.method import ADAPTERS, TrainedMethod, Weights
from harness.models.compress.stored import LowRankUpdate, Stored
from harness.models.compress.training import Training


class Lora(Training):
    """Adds an update to each linear layer of `model`. The parameters of the model itself are no longer trained."""

    def __init__(self, model: nn.Module, options: AdapterOptions) -> None:
        self.model, self.options = model, options
        self.layers = frozen_layers(model, options)
        self.adapters: dict[str, LowRank] = {}
        for name, layer in self.layers.treated.items():
            self.adapters[name] = LowRank(cast(nn.Linear, layer), options.rank, options.scale)
            attach(layer, self.adapters[name])

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        for name, layer in self.layers.treated.items():
            adapter = self.adapters[name]
            stored[name] = LowRankUpdate(matrix(layer), *adapter.stored(), adapter.scale, shape_of(layer))
        return finished_adapters(self.model, self.layers, stored, self.options)


METHOD = TrainedMethod(
    name="lora",
    family=ADAPTERS,
    options=AdapterOptions,
    start=Lora,
    source="Hu et al. 2022, arXiv 2106.09685",
)
