"""Layers that take the place of one whose weight is a product of smaller arrays."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.models.compress.adapters.experts import Experts, ExpertsLinear
from harness.models.compress.stored import Factors, Hybrid, RoutedUpdates, Stored, TensorTrain

Parameters = MutableMapping[int, nn.Parameter]
"""Parameters by the identity of the tensor that they were made of: a factor that several layers share is one."""


def layer_for(layer: nn.Module, stored: Stored, parameters: Parameters) -> nn.Module | None:
    """What replaces a linear layer or convolution whose weight is `stored` as a product, None for any other form: its
    weight can be put into the layer itself.
    """
    bias = cast(Tensor | None, getattr(layer, "bias", None))
    if isinstance(stored, Factors):
        if isinstance(layer, nn.Conv2d):
            return _factorised_convolution(layer, stored, parameters)
        return factorised(stored.factors, bias, parameters)
    if isinstance(stored, TensorTrain):
        return TensorTrainLinear(stored, bias)
    if isinstance(stored, Hybrid):
        return HybridLinear(stored, bias)
    if isinstance(stored, RoutedUpdates):
        return _with_experts(stored, bias)
    return None


def factorised(factors: tuple[Tensor, ...], bias: Tensor | None, parameters: Parameters) -> nn.Sequential:
    """Linear layers one after another, the last with the bias."""
    linears = [linear(factor, None, parameters) for factor in factors[:-1]]
    return nn.Sequential(*linears, linear(factors[-1], bias, parameters))


def linear(weight: Tensor, bias: Tensor | None, parameters: Parameters) -> nn.Linear:
    """A linear layer of `weight` [out, in], whose parameter is that of any other layer made of the same tensor."""
    layer = nn.Linear(weight.size(1), weight.size(0), bias=bias is not None, device="meta")
    layer.weight = parameters.setdefault(id(weight), nn.Parameter(weight.clone(memory_format=torch.contiguous_format)))
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _factorised_convolution(layer: nn.Conv2d, stored: Factors, parameters: Parameters) -> nn.Sequential:
    """A convolution to fewer channels with the window of `layer`, then one with a window of 1."""
    reading, writing = stored.factors
    rank, window = reading.size(0), layer.kernel_size
    first = nn.Conv2d(
        layer.in_channels,
        rank,
        window,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=False,
        padding_mode=layer.padding_mode,
    )
    first.weight = nn.Parameter(reading.contiguous().reshape(rank, layer.in_channels, *window).clone())
    second = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None)
    second.weight = nn.Parameter(writing.contiguous().reshape(*writing.shape, 1, 1).clone())
    if layer.bias is not None:
        second.bias = nn.Parameter(layer.bias.detach().clone())
    return nn.Sequential(first, second)


def _with_experts(stored: RoutedUpdates, bias: Tensor | None) -> ExpertsLinear:
    count, (outputs, inputs) = stored.router.size(0), stored.base.shape
    experts = Experts(inputs, outputs, count, stored.reading.size(0) // count, stored.top)
    experts.scale = stored.scale
    for layer, weight in (
        (experts.router, stored.router),
        (experts.reading, stored.reading),
        (experts.writing, stored.writing),
    ):
        layer.weight = nn.Parameter(weight.clone())
    return ExpertsLinear(linear(stored.base, bias, {}), experts)


class TensorTrainLinear(nn.Module):
    """A linear layer whose weight is a train of cores: x [..., in] to [..., out], a core at a time.

    The product with core k sums over its inputs and over the rank that joins it to the core before.
    """

    def __init__(self, stored: TensorTrain, bias: Tensor | None) -> None:
        super().__init__()
        self.cores = nn.ParameterList(
            # [out_k rank_k+1, rank_k in_k]: a matrix for each product
            core.permute(1, 3, 0, 2)
            .reshape(core.size(1) * core.size(3), -1)
            .clone(memory_format=torch.contiguous_format)
            for core in stored.cores
        )
        self.sizes = [tuple(core.shape) for core in stored.cores]
        self.out_features = stored.shape[0]
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[:-1]
        # Always [vectors, outputs until now, rank, inputs to come].
        x = x.reshape(-1, 1, 1, x.shape[-1])
        for matrix, (rank, outputs, inputs, next_rank) in zip(self.cores, self.sizes, strict=True):
            before, rest = x.shape[1], x.shape[3] // inputs
            x = x.reshape(-1, before, rank * inputs, rest).transpose(2, 3)
            x = F.linear(x, matrix)  # [vectors, before, rest, outputs * next_rank]
            x = x.reshape(-1, before, rest, outputs, next_rank).permute(0, 1, 3, 4, 2)
            x = x.reshape(-1, before * outputs, next_rank, rest)
        x = x.reshape(*shape, self.out_features)
        return x if self.bias is None else x + self.bias


class HybridLinear(nn.Module):
    """A tensor train for most outputs, a dense matrix for the others: x [..., in] to [..., out]."""

    places: Tensor

    def __init__(self, stored: Hybrid, bias: Tensor | None) -> None:
        super().__init__()
        self.train_part = TensorTrainLinear(stored.train, None)
        self.dense = nn.Linear(stored.dense.size(1), stored.dense.size(0), bias=False)
        self.dense.weight = nn.Parameter(stored.dense.clone())
        self.register_buffer("places", torch.argsort(stored.order))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.train_part(x), self.dense(x)], dim=-1).index_select(-1, self.places)
        return x if self.bias is None else x + self.bias
