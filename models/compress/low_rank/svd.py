"""SVD: a matrix as the product of two thin ones, the best of their rank.

W = U S V^T is cut after r singular values; no matrix of rank r is nearer to W by Frobenius' norm: Eckart and Young,
"The approximation of one matrix by another of lower rank" (Psychometrika 1, 1936, DOI 10.1007/BF02288367). A linear
layer becomes two of them, x V_r^T then U_r, each with the square roots of the singular values; a convolution becomes
one with its window and r channels, and one with a window of 1. Fewer products only where r < out in / (out + in).
"""

from __future__ import annotations

from torch import Tensor, linalg, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, leave_grouped_windows, matrix, shape_of
from harness.models.compress.low_rank.budget import TOO_SMALL, RankOptions, chosen_rank
from harness.models.compress.method import LOW_RANK, Method, Weights
from harness.models.compress.stored import Factors, Stored


def factor(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """What reads [rank, in] and what writes [out, rank] of the best approximation of `weight` [out, in]."""
    left, values, right = linalg.svd(weight.double(), full_matrices=False)
    root = values[:rank].sqrt()
    return (root[:, None] * right[:rank]).float(), (left[:, :rank] * root).float()


def rank_of(weight: Tensor, options: RankOptions) -> int | None:
    """The rank of two factors of `weight` [out, in], see `budget.chosen_rank`."""
    rows, columns = weight.shape
    return chosen_rank(options, weight.numel(), min(rows, columns), lambda rank: rank * (rows + columns))


def run(model: nn.Module, _: Calibration | None, options: RankOptions) -> Weights:
    """Linear layers and convolutions as two factors."""
    layers = find_layers(model, options, exact=True)
    leave_grouped_windows(layers)
    stored: dict[str, Stored] = {}
    for name, layer in list(layers.treated.items()):
        rank = rank_of(matrix(layer), options)
        if rank is None:
            layers.leave(name, TOO_SMALL)
        else:
            stored[name] = Factors(factor(matrix(layer), rank), shape_of(layer))
    return finished(model, layers, stored, options)


METHOD = Method(
    name="svd",
    family=LOW_RANK,
    options=RankOptions,
    run=run,
    calibrated=False,
    source="Eckart and Young 1936, DOI 10.1007/BF02288367",
)
