"""QLoRA: the weights become normal floats of 4 bits, and a low-rank update of them is learned.

Dettmers, Pagnoni, Holtzman and Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs" (NeurIPS 2023, arXiv
2305.14314, DOI 10.48550/arXiv.2305.14314). The stored weights become small: 4.127 bits each, and the update. No kernel
of a program computes with normal floats, so that both are merged before the program is exported, in float32.

Differs from the paper: there is no paged optimizer. Which 8-bit floats double quantisation uses: see `normal_float`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from harness.models.compress.adapters.adapter import AdapterOptions
from harness.models.compress.adapters.lora import Lora
from harness.models.compress.layers import finished, matrix, shape_of
from harness.models.compress.method import ADAPTERS, TrainedMethod, Weights
from harness.models.compress.normal_float import quantise
from harness.models.compress.stored import NormalFloatUpdate, Stored
from harness.models.compress.training import Training


@dataclass(frozen=True, kw_only=True)
class QloraOptions(AdapterOptions):
    """Those of `lora`; `double` stores the scales of the blocks in 8 bits (the paper's double quantisation), otherwise
    they take 32.
    """

    double: bool = True


class Qlora(Training):
    """Rounds the weights of the linear layers of `model` to normal floats, and adds a LoRA to them."""

    def __init__(self, model: nn.Module, options: QloraOptions) -> None:
        self.model, self.options = model, options
        self.lora = Lora(model, options)
        self.layers = self.lora.layers
        self.bases = {}
        for name, layer in self.layers.treated.items():
            self.bases[name] = quantise(matrix(layer), options.double)
            with torch.no_grad():
                layer.get_parameter("weight").copy_(self.bases[name].weight())

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        for name, layer in self.layers.treated.items():
            adapter = self.lora.adapters[name]
            stored[name] = NormalFloatUpdate(self.bases[name], *adapter.stored(), adapter.scale, shape_of(layer))
        return finished(self.model, self.layers, stored, self.options)


METHOD = TrainedMethod(
    name="qlora",
    family=ADAPTERS,
    options=QloraOptions,
    start=Qlora,
    source="Dettmers et al. 2023, arXiv 2305.14314",
)
