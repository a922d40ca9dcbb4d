"""Grouped-query and multi-query attention with further training: keys and values start from the means of their heads,
as in `grouped_query`, and stay the same within a group while the attention layers are trained.

Ainslie, Lee-Thorp, de Jong, Zemlyanskiy, Lebron and Sanghai, "GQA: Training Generalized Multi-Query Transformer Models
from Multi-Head Checkpoints" (EMNLP 2023, arXiv 2305.13245, DOI 10.18653/v1/2023.emnlp-main.298): both of its steps.

Differs from the paper: it trains all weights, with 5 % of the steps of the original training. Here only those of
attention are trained, in the layers that give queries, keys and values and in those that mix the heads, so that a file
of the difference stays small.

What a program of such a model has once, and what it has for every head, `grouped_query` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.errors import UsageError
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.method import SHARING, TrainedMethod, Weights
from harness.models.compress.sharing.grouped_query import GroupedQueryOptions, run
from harness.models.compress.stored import Dense, SharedRows, Stored
from harness.models.compress.training import Training


@dataclass(frozen=True, kw_only=True)
class GroupedQueryTrainingOptions(GroupedQueryOptions):
    """Those of `grouped-query`; `mixing` are patterns of the names of the layers that mix the heads: they are trained
    too.
    """

    mixing: tuple[str, ...] = ("*attention.proj", "*o_proj", "*out_proj")


class Repeated(nn.Module):
    """A parametrization: from the parameter, `rows` [n, ...], to a weight or bias [out, ...] whose row i is row `index`
    [i] of the parameter.
    """

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return rows[self.index]


class GroupedQueryTraining(Training):
    """Makes the keys and values of each group one parameter in the attention layers of `model`; all others are frozen.

    Raises UsageError where no layer gives keys or values of so many heads.
    """

    def __init__(self, model: nn.Module, options: GroupedQueryTrainingOptions) -> None:
        self.model, self.options = model, options
        averaged = run(model, None, options)
        if not averaged.layers:
            raise UsageError(
                f"No layer of this model gives the keys or values of {options.heads} heads.",
                "Name these layers as separate or fused, and give the number of their heads.",
            )
        self.layers = find_layers(model, options, windows=False)
        self.index: dict[str, Tensor] = {}
        model.requires_grad_(False)
        for name, layer in list(self.layers.treated.items()):
            shared = averaged.layers.get(name)
            if isinstance(shared, SharedRows):
                self.index[name] = shared.index
                _repeat(layer, "weight", shared.rows, shared.index)
                if f"{name}.bias" in averaged.changed:
                    bias = averaged.changed[f"{name}.bias"]
                    _repeat(layer, "bias", bias[_first(shared.index)], shared.index)
            elif any(fnmatchcase(name, pattern) for pattern in options.mixing):
                layer.requires_grad_(True)
            else:
                self.layers.leave(name, averaged.left.get(name, "it gives no keys or values"))

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        biases = {}
        for name, layer in self.layers.treated.items():
            if name not in self.index:
                stored[name] = Dense(matrix(layer).half(), shape_of(layer))
                continue
            index = self.index[name]
            rows = matrix(layer)[_first(index)].half()
            stored[name] = SharedRows(rows, index, shape_of(layer))
            if isinstance(layer.bias, Tensor):
                biases[f"{name}.bias"] = layer.bias.detach().half().to(layer.bias.dtype)
        weights = finished(self.model, self.layers, stored, self.options)
        weights.changed |= biases
        return weights


def _first(index: Tensor) -> Tensor:
    """The first place of each of the rows 0 to n - 1 in `index` [out]: int64 [n]."""
    return torch.stack([(index == row).nonzero()[0, 0] for row in range(int(index.max()) + 1)])


def _repeat(layer: nn.Module, name: str, rows: Tensor, index: Tensor) -> None:
    """Make the parameter `name` of `layer` the `rows` [n, ...], repeated by `index` [out]."""
    dtype = layer.get_parameter(name).dtype
    setattr(layer, name, nn.Parameter(rows.detach().to(dtype).clone()))
    parametrize.register_parametrization(layer, name, Repeated(index), unsafe=True)


METHOD = TrainedMethod(
    name="grouped-query-training",
    family=SHARING,
    options=GroupedQueryTrainingOptions,
    start=GroupedQueryTraining,
    source="Ainslie et al. 2023, arXiv 2305.13245",
)
