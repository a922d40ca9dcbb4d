"""TT-matrix: a tensor train whose every core has a part of the outputs and a part of the inputs.

Novikov, Podoprikhin, Osokin and Vetrov, "Tensorizing Neural Networks" (NeurIPS 2015, arXiv 1509.06569, DOI
10.48550/arXiv.1509.06569). W [out, in] is taken as a tensor [o_1 i_1, .., o_d i_d] and cut by TT-SVD (see
`tensor_train`, also for the error, which is known). With two modes it is the best sum of Kronecker products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.low_rank.budget import balanced
from harness.models.compress.low_rank.tensor_train import TensorTrainOptions, cut, trains
from harness.models.compress.method import LOW_RANK, Method, Weights
from harness.models.compress.stored import TensorTrain


@dataclass(frozen=True, kw_only=True)
class TTMatrixOptions(TensorTrainOptions):
    """As `tensor_train`'s; `modes` is the number of cores."""

    modes: int = 3


def sizes_of(rows: int, columns: int, modes: int) -> list[tuple[int, int]]:
    """Outputs and inputs of each core; where outputs ascend inputs descend, so that cores are alike in size."""
    return list(zip(balanced(rows, modes), balanced(columns, modes)[::-1], strict=True))


def train_of(weight: Tensor, rank: int | None, modes: int, error: float | None = None) -> tuple[TensorTrain, float]:
    """`weight` [out, in] as a TT-matrix, and its relative error."""
    rows, columns = weight.shape
    sizes = sizes_of(rows, columns, modes)
    outputs, inputs = zip(*sizes, strict=True)
    alternating = [place for mode in range(modes) for place in (mode, modes + mode)]
    tensor = weight.reshape(*outputs, *inputs).permute(alternating)
    cores, lost = cut(tensor.reshape([o * i for o, i in sizes]), rank, error)
    shaped = [
        core.reshape(core.size(0), *size, core.size(2)).contiguous() for core, size in zip(cores, sizes, strict=True)
    ]
    return TensorTrain(tuple(shaped), weight.shape), lost


def run(model: nn.Module, _: Calibration | None, options: TTMatrixOptions) -> Weights:
    """Linear layers as TT-matrices."""

    def sizes(shape: torch.Size) -> list[int]:
        rows, columns = shape
        return [outputs * inputs for outputs, inputs in sizes_of(rows, columns, options.modes)]

    return trains(model, options, sizes, lambda weight, rank: train_of(weight, rank, options.modes, options.error))


METHOD = Method(
    name="tensor-train-matrix",
    family=LOW_RANK,
    options=TTMatrixOptions,
    run=run,
    calibrated=False,
    source="Novikov et al. 2015, arXiv 1509.06569",
)
