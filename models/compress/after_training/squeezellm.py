"""SqueezeLLM: each row has a table of values, fitted to its most sensitive weights, and a few weights stay apart.

Kim, Hooper, Gholami, Dong, Li, Shen, Mahoney and Keutzer, "SqueezeLLM: Dense-and-Sparse Quantization" (ICML 2024, arXiv
2306.07629, DOI 10.48550/arXiv.2306.07629). The 2^b values of a row minimise the squared error weighed by the Fisher
information's diagonal: k-means in one dimension. Before that a share of weights is set apart in float16, the largest
and the most sensitive.

The Fisher diagonal is the mean square of the gradient of the loss. The paper takes labels from a text; a module of a
user comes without, so that classes are drawn from the model's own outputs, the last dimension of the first one being
logits, which is how the Fisher information is defined. Lookup tables have no kernel in XNNPACK: exported programs
compute in float32.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import DataError
from harness.models.compress.calibration import Calibration, output_of
from harness.models.compress.layers import find_layers, finished, leave_unseen, matrix, shape_of
from harness.models.compress.method import FEW_BITS, Method, Options, Weights, check_range
from harness.models.compress.stored import Looked, Stored

SEED = 0


@dataclass(frozen=True, kw_only=True)
class SqueezeLLMOptions(Options):
    """`bits` of an index; `largest` and `sensitive` are the shares of weights that are set apart; `rounds` of k-means
    at most.
    """

    bits: int = 4
    largest: float = 0.004
    sensitive: float = 0.0005
    rounds: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_range("rounds", self.rounds, 1, 1000)
        for name, value in (("largest", self.largest), ("sensitive", self.sensitive)):
            if not 0 <= value < 0.5:
                raise ValueError(f"{name} is {value}, not a share from 0 to 0.5")


def fisher_diagonal(model: nn.Module, calibration: Calibration, names: list[str]) -> dict[str, Tensor]:
    """The mean square of the gradient of each weight, [out, in] by name of layer, one gradient a sample. A layer
    through which no gradient comes is absent. Raises DataError where the first output is not a tensor of numbers.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(SEED)
    layers = {name: model.get_submodule(name) for name in names}
    squares: dict[str, Tensor] = {}
    count = 0
    for batch in calibration.batches:
        for sample in range(batch[0].size(0)):
            model.zero_grad(set_to_none=True)
            with torch.enable_grad():
                output = output_of(model, tuple(tensor[sample : sample + 1] for tensor in batch))
                logits = output[0] if isinstance(output, tuple | list) else output
                if not isinstance(logits, Tensor) or not logits.is_floating_point() or not logits.requires_grad:
                    raise DataError("The model's first output is no tensor of logits.", "Choose another method.")
                logits = logits.float().reshape(-1, logits.size(-1))
                drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator).squeeze(1)
                F.cross_entropy(logits, drawn, reduction="sum").backward()  # type: ignore[no-untyped-call]
            count += 1
            for name, layer in layers.items():
                gradient = cast(Tensor, layer.weight).grad
                if gradient is not None:
                    squares[name] = squares.get(name, torch.zeros(())) + gradient.float().flatten(1).square()
    return {name: square / count for name, square in squares.items()}


def weighted_means(weight: Tensor, importance: Tensor, count: int, rounds: int) -> tuple[Tensor, Tensor]:
    """k-means in one dimension for each row of `weight` [out, in], weighed by `importance` [out, in] of at least one
    positive number a row: tables [out, count], ascending, and the index of each weight, int64 [out, in].

    It begins with values at equal shares of the importance, so that no random number decides what comes out.
    """
    rows, _ = weight.shape
    ordered, order = weight.sort(dim=1)
    shares = importance.gather(1, order).cumsum(1)
    targets = (torch.arange(count) + 0.5) / count * shares[:, -1:]
    tables = ordered.gather(1, torch.searchsorted(shares, targets).clamp(max=weight.size(1) - 1))
    for _ in range(rounds):
        indices = nearest_entry(weight, tables)
        mass = torch.zeros(rows, count).scatter_add_(1, indices, importance)
        sums = torch.zeros(rows, count).scatter_add_(1, indices, importance * weight)
        moved = torch.where(mass > 0, sums / mass.clamp(min=torch.finfo(torch.float32).tiny), tables).sort(dim=1).values
        if torch.equal(moved, tables):
            break
        tables = moved
    return tables, nearest_entry(weight, tables)


def nearest_entry(weight: Tensor, tables: Tensor) -> Tensor:
    """The index of the nearest entry of each row's ascending table [out, count], int64 [out, in]."""
    middles = (tables[:, 1:] + tables[:, :-1]) / 2
    return torch.searchsorted(middles.contiguous(), weight.contiguous())


def looked(weight: Tensor, importance: Tensor, options: SqueezeLLMOptions, shape: torch.Size) -> Looked:
    """`weight` [out, in] as tables, indices and weights apart."""
    apart = torch.zeros(weight.numel(), dtype=torch.bool)
    for score, share in ((weight.abs(), options.largest), (importance, options.sensitive)):
        apart[score.flatten().topk(int(share * weight.numel())).indices] = True
    places = apart.nonzero().flatten()
    inside = importance * ~apart.view_as(weight)
    # A row that no gradient reached, or that is all apart, is fitted evenly.
    inside = torch.where(inside.sum(1, keepdim=True) > 0, inside, torch.ones_like(inside))
    inside = inside / inside.mean(1, keepdim=True)
    tables, _ = weighted_means(weight, inside, 1 << options.bits, options.rounds)
    tables = tables.half().float()
    indices = nearest_entry(weight, tables).to(torch.uint8)
    return Looked(indices, tables, places, weight.flatten()[places].half().float(), options.bits, shape)


def run(model: nn.Module, calibration: Calibration | None, options: SqueezeLLMOptions) -> Weights:
    """Linear layers and convolutions as tables, with the sensitivities that the calibration shows."""
    assert calibration is not None
    layers = find_layers(model, options)
    importance = fisher_diagonal(model, calibration, list(layers.treated))
    leave_unseen(layers, importance)
    stored: dict[str, Stored] = {
        name: looked(matrix(layer), importance[name], options, shape_of(layer))
        for name, layer in layers.treated.items()
    }
    return finished(model, layers, stored, options)


METHOD = Method(
    name="squeezellm",
    family=FEW_BITS,
    options=SqueezeLLMOptions,
    run=run,
    calibrated=True,
    source="Kim et al. 2024, arXiv 2306.07629",
)
