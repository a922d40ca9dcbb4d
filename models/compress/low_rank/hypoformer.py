"""Hypoformer's hybrid: a tensor train for most outputs of a layer, a small dense matrix for the others.

Li, Wang, Gan, Zhang, Xing and Zhang, "Hypoformer: Hybrid Decomposition Transformer for Edge-friendly Neural Machine
Translation" (EMNLP 2022, pages 7056 ff.). The dense part keeps the whole from being of low rank. The paper trains both
parts from the start; here they are cut out of a trained matrix, and the dense rows are those that a TT-matrix of all
rows, with the parameters that are left for it, gets most wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.low_rank.budget import TOO_SMALL, RankOptions
from harness.models.compress.low_rank.tensor_train import rank_of
from harness.models.compress.low_rank.tensor_train_matrix import sizes_of, train_of
from harness.models.compress.method import LOW_RANK, Method, Weights, check_range
from harness.models.compress.stored import Hybrid, Stored

ROWS_TOGETHER = 32
"""The rows of the train are a multiple of it where there are enough of them, so that they split evenly into modes."""


@dataclass(frozen=True, kw_only=True)
class HypoformerOptions(RankOptions):
    """`dense` is the share of rows in the dense part, about; `modes` the cores of the train. `share` counts both parts,
    `rank` is the train's.
    """

    dense: float = 0.25
    modes: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("modes", self.modes, 1, 8)
        if not 0 < self.dense < 1:
            raise ValueError(f"dense is {self.dense}, not a share between 0 and 1")


def hybrid(weight: Tensor, options: HypoformerOptions) -> Hybrid | None:
    """`weight` [out, in] in two parts, None where they would not be smaller."""
    rows, columns = weight.shape
    unit = ROWS_TOGETHER if rows >= 2 * ROWS_TOGETHER else 1
    of_train = max(unit, round((1 - options.dense) * rows / unit) * unit)
    remaining = options.share - (rows - of_train) / rows
    if of_train >= rows or (options.rank is None and remaining <= 0):
        return None
    # What is left for the train, as a share of the matrix that it stands for.
    budget = options if options.rank is not None else replace(options, share=remaining * rows / of_train)
    rank = rank_of([o * i for o, i in sizes_of(of_train, columns, options.modes)], budget)
    if rank is None:
        return None
    trial, _ = train_of(weight, rank, options.modes)
    order = torch.argsort((trial.weight() - weight).square().sum(1), stable=True)
    train, _ = train_of(weight[order[:of_train]], rank, options.modes)
    return Hybrid(train, weight[order[of_train:]].clone(), order, weight.shape)


def run(model: nn.Module, _: Calibration | None, options: HypoformerOptions) -> Weights:
    """Linear layers in two parts."""
    layers = find_layers(model, options, exact=True, windows=False)
    stored: dict[str, Stored] = {}
    for name, layer in list(layers.treated.items()):
        parts = hybrid(matrix(layer), options)
        if parts is None:
            layers.leave(name, f"{TOO_SMALL}, beside {options.dense:g} of its {shape_of(layer)[0]} rows")
        else:
            stored[name] = parts
    return finished(model, layers, stored, options)


METHOD = Method(
    name="hypoformer",
    family=LOW_RANK,
    options=HypoformerOptions,
    run=run,
    calibrated=False,
    source="Li et al. 2022, EMNLP, Hypoformer",
)
