"""Activation-aware SVD: the two thin matrices whose outputs, not weights, are nearest to the layer's.

Wang, Zheng, Wan and Zhang, "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model
Compression" (ICLR 2025, arXiv 2403.07378, DOI 10.48550/arXiv.2403.07378); scaling by the magnitude of activations is
Yuan et al., "ASVD" (arXiv 2312.05821, DOI 10.48550/arXiv.2312.05821). With H = L L^T the mean of x x^T, the error of
the outputs is |(W' - W) L|, so that W L is cut after r singular values and L taken back. H is dampened a little, since
inputs that never occur would leave L without an inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import ModelError
from harness.models.compress.calibration import Calibration, observe
from harness.models.compress.layers import (
    find_layers,
    finished,
    leave_grouped_windows,
    leave_unseen,
    matrix,
    shape_of,
)
from harness.models.compress.low_rank.budget import TOO_SMALL, RankOptions
from harness.models.compress.low_rank.svd import rank_of
from harness.models.compress.method import LOW_RANK, Method, Weights, check_share
from harness.models.compress.stored import Factors, Stored


@dataclass(frozen=True, kw_only=True)
class ActivationSVDOptions(RankOptions):
    """`damping` is the share of the mean diagonal that is added to H."""

    damping: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("damping", self.damping)


def factor(weight: Tensor, second: Tensor, rank: int, damping: float) -> tuple[Tensor, Tensor]:
    """What reads [rank, in] and what writes [out, rank] of `weight` [out, in], for inputs with the mean `second`
    [in, in] of x x^T. Raises ModelError where that cannot be inverted.
    """
    second = second.double()
    mean = second.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    lower, failed = torch.linalg.cholesky_ex(second + damping * mean * torch.eye(len(second), dtype=torch.float64))
    if failed:
        raise ModelError("What a layer sees of the calibration cannot be inverted.", "Give more samples.")
    left, values, right = torch.linalg.svd(weight.double() @ lower, full_matrices=False)
    root = values[:rank].sqrt()
    reading = torch.linalg.solve_triangular(lower, root[:, None] * right[:rank], upper=False, left=False)
    return reading.float(), (left[:, :rank] * root).float()


def run(model: nn.Module, calibration: Calibration | None, options: ActivationSVDOptions) -> Weights:
    """Linear layers and convolutions as two factors, on the inputs of the calibration."""
    assert calibration is not None
    layers = find_layers(model, options, exact=True)
    leave_grouped_windows(layers)
    statistics = observe(model, calibration, layers.treated)
    leave_unseen(layers, statistics)
    stored: dict[str, Stored] = {}
    for name, layer in list(layers.treated.items()):
        rank = rank_of(matrix(layer), options)
        if rank is None:
            layers.leave(name, TOO_SMALL)
            continue
        factors = factor(matrix(layer), statistics[name].second, rank, options.damping)
        stored[name] = Factors(factors, shape_of(layer))
    return finished(model, layers, stored, options)


METHOD = Method(
    name="activation-svd",
    family=LOW_RANK,
    options=ActivationSVDOptions,
    run=run,
    calibrated=True,
    source="Wang et al. 2025, arXiv 2403.07378",
)
