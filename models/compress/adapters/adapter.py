"""A low-rank addition to a linear layer, which is learned while everything else of the model stays as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import UsageError
from harness.models.compress.layers import Layers, find_layers, finished
from harness.models.compress.method import Options, Weights, check_range
from harness.models.compress.stored import Stored, adapter_bytes


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(Options):
    """`rank` r of the update of a layer, which is multiplied by `alpha` / r; `layers`: patterns, as in a shell, of the
    names of the linear layers that get one. Raises ValueError for a number out of range.
    """

    rank: int = 8
    alpha: float = 16.0
    layers: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rank", self.rank, 1, 1024)
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}, not a positive number")

    @property
    def scale(self) -> float:
        """The number by which an update is multiplied."""
        return self.alpha / self.rank


class LowRank(nn.Module):
    """x [..., in] to scale * B A x [..., out], with A `reading` [rank, in] and B `writing` [out, rank].

    B begins with zeros, so that nothing is added at first. A begins with the uniform random numbers of any linear layer
    of PyTorch, as in the code of LoRA's authors (their paper has a Gaussian).
    """

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.reading = nn.Parameter(torch.empty(rank, layer.in_features))
        self.writing = nn.Parameter(torch.zeros(layer.out_features, rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.reading, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.reading), self.writing) * self.scale

    def stored(self) -> tuple[Tensor, Tensor]:
        """A and B as they are stored."""
        return stored_number(self.reading), stored_number(self.writing)


def stored_number(parameter: Tensor) -> Tensor:
    """A learned tensor as it is stored: float32, rounded to numbers of float16."""
    return parameter.detach().half().float()


def frozen_layers(model: nn.Module, options: AdapterOptions) -> Layers:
    """The linear layers that get an adapter. From now on no parameter of `model` is trained.

    Raises UsageError where there is no such layer.
    """
    layers = find_layers(model, options, exact=True, windows=False)
    for name in [name for name in layers.treated if not any(fnmatchcase(name, p) for p in options.layers)]:
        layers.leave(name, "the option `layers` does not name it")
    if not layers.treated:
        raise UsageError(
            f"No layer of this model can have an adapter{layers.reasons()}.",
            "Choose another method, or options that fit its layers.",
        )
    model.requires_grad_(False)
    return layers


def attach(layer: nn.Module, adapter: nn.Module) -> None:
    """Let `layer` add to its output what `adapter` makes of its input. The adapter becomes a part of the layer."""
    layer.add_module("adapter", adapter)
    layer.register_forward_hook(_with_adapter)


def _with_adapter(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    update: Tensor = layer.get_submodule("adapter")(inputs[0])
    return output + update


def finished_adapters(model: nn.Module, layers: Layers, stored: dict[str, Stored], options: AdapterOptions) -> Weights:
    """As `layers.finished`, with the bytes that a file has for the adapters `stored` among the facts."""
    weights = finished(model, layers, stored, options)
    weights.facts["adapter_bytes"] = adapter_bytes(stored)
    return weights
