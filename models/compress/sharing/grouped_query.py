"""Grouped-query and multi-query attention: several heads share keys and values, which are the means of what they had.

Ainslie, Lee-Thorp, de Jong, Zemlyanskiy, Lebron and Sanghai, "GQA: Training Generalized Multi-Query Transformer Models
from Multi-Head Checkpoints" (EMNLP 2023, arXiv 2305.13245, DOI 10.18653/v1/2023.emnlp-main.298). This is its first
step: the key and value heads of a group are averaged. `kv_heads=1` is multi-query attention: Shazeer, "Fast Transformer
Decoding: One Write-Head is All You Need" (arXiv 1911.02150, DOI 10.48550/arXiv.1911.02150). The paper's second step,
further training with 5 % of the original steps, is `grouped_query_training`. In the paper groups are of use without it,
a single head is not.

The layers hold each mean once for every head that has it, and the bits count it once. A program of our own network has
each mean once, too, and one cache of keys and values for the heads that share it (`export.deployment`). A program of
another module computes what it did before, at the same speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.method import SHARING, Method, Options, Weights, check_range
from harness.models.compress.stored import SharedRows, Stored


@dataclass(frozen=True, kw_only=True)
class GroupedQueryOptions(Options):
    """`heads` of each attention layer, which become `kv_heads` for keys and values.

    `separate` are patterns of the names of layers that give only keys or only values, `fused` of those that give
    queries, keys and values, a third of the rows each, in this order. Raises ValueError for numbers of heads that do
    not fit.
    """

    heads: int
    kv_heads: int
    separate: tuple[str, ...] = ("*k_proj", "*v_proj")
    fused: tuple[str, ...] = ("*qkv",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("heads", self.heads, 2, 1 << 16)
        check_range("kv_heads", self.kv_heads, 1, self.heads - 1)
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.kv_heads} kv_heads do not divide {self.heads} heads")


def averaged(weight: Tensor, options: GroupedQueryOptions) -> tuple[Tensor, Tensor]:
    """The mean rows [kv_heads * size, in] of `weight` [heads * size, in], and which of them each row becomes [out]."""
    size, together = len(weight) // options.heads, options.heads // options.kv_heads
    means = weight.view(options.kv_heads, together, size, -1).mean(dim=1).flatten(0, 1)
    heads = torch.arange(options.heads) // together
    return means, (heads[:, None] * size + torch.arange(size)).flatten()


def shared(weight: Tensor, options: GroupedQueryOptions, fused: bool, shape: torch.Size) -> SharedRows:
    """`weight` with its keys and values averaged; its queries, where it has them, as they are."""
    if not fused:
        return SharedRows(*averaged(weight, options), shape)
    queries, keys, values = weight.chunk(3)
    (mean_keys, of_keys), (mean_values, of_values) = averaged(keys, options), averaged(values, options)
    index = torch.cat([torch.arange(len(queries)), len(queries) + of_keys, len(queries) + len(mean_keys) + of_values])
    return SharedRows(torch.cat([queries, mean_keys, mean_values]), index, shape)


def run(model: nn.Module, _: Calibration | None, options: GroupedQueryOptions) -> Weights:
    """The linear layers that the patterns name, with averaged heads."""
    layers = find_layers(model, options, windows=False)
    stored: dict[str, Stored] = {}
    for name, layer in list(layers.treated.items()):
        fused = any(fnmatchcase(name, pattern) for pattern in options.fused)
        if not fused and not any(fnmatchcase(name, pattern) for pattern in options.separate):
            layers.leave(name, "it gives no keys or values")
        elif len(matrix(layer)) % (options.heads * (3 if fused else 1)):
            layers.leave(name, f"its {len(matrix(layer))} rows are not those of {options.heads} heads")
        else:
            stored[name] = shared(matrix(layer), options, fused, shape_of(layer))
    weights = finished(model, layers, stored, options)
    for name in stored:
        bias = getattr(layers.treated[name], "bias", None)
        if bias is not None:
            fused = any(fnmatchcase(name, pattern) for pattern in options.fused)
            column = shared(bias.detach().float()[:, None], options, fused, torch.Size((len(bias), 1)))
            weights.changed[f"{name}.bias"] = column.weight().flatten()
    return weights


METHOD = Method(
    name="grouped-query",
    family=SHARING,
    options=GroupedQueryOptions,
    run=run,
    calibrated=False,
    source="Ainslie et al. 2023, arXiv 2305.13245",
)
