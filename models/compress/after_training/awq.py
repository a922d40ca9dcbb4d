"""AWQ: weights that read large activations are scaled up before rounding, so that they lose less of it.

Lin, Tang, Tang, Yang, Chen, Wang, Xiao, Dang, Gan and Han, "AWQ: Activation-aware Weight Quantization for On-Device LLM
Compression and Acceleration" (MLSys 2024, arXiv 2306.00978, DOI 10.48550/arXiv.2306.00978):

    s_j = (mean |x_j|)^a,    a of a grid of 20 from 0 to 1 with the least |Q(W s) (x / s) - W x|^2

The division is taken into the norm before the layers, so only layers that read a norm and nothing else are scaled. As
in the authors' code scales are divided by the square root of their least times their greatest, and then every step is
chosen, by a search of its own, for the least error of the layer's output. That error is computed from the mean of
x x^T, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.after_training.gptq import hessian_error
from harness.models.compress.calibration import Calibration, InputStatistics, observe
from harness.models.compress.layers import (
    find_layers,
    finished_scaled,
    leave_grouped_windows,
    leave_ungrouped,
    leave_unseen,
    matrix,
    shape_of,
)
from harness.models.compress.method import FEW_BITS, Method, Options, Weights, check_group, check_range
from harness.models.compress.normed import among, inverse_scaled, normed_layers
from harness.models.compress.rounding import round_to_nearest, searched_steps, symmetric_steps
from harness.models.compress.stored import Integers, Stored

GRID = 20
LEAST = 1e-4
"""Of a mean magnitude: a channel that is always 0 has a scale all the same."""


@dataclass(frozen=True, kw_only=True)
class AWQOptions(Options):
    """`bits` of a level; `group` inputs of a channel share a step, all of them where it is None; `clip` searches the
    steps.
    """

    bits: int = 4
    group: int | None = None
    clip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_group(self.group)


def scales_of(mean_magnitude: Tensor, exponent: float) -> Tensor:
    """s [in] for the mean magnitudes [in] of a layer's inputs."""
    scales = mean_magnitude.clamp(min=LEAST).pow(exponent)
    return scales / (scales.amin() * scales.amax()).sqrt()


def output_error(weight: Tensor, scales: Tensor, seen: InputStatistics, options: AWQOptions) -> float:
    """The mean squared error of a layer's outputs where `weight` [out, in] is rounded times `scales` [in]."""
    scaled = weight * scales
    steps = symmetric_steps(scaled, options.bits, options.group)
    code = round_to_nearest(scaled, steps, options.bits, scaled.shape)
    return hessian_error(code.weight() / scales - weight, seen.second).sum().item()


def best_scales(weights: list[Tensor], seen: InputStatistics, options: AWQOptions) -> Tensor:
    """Of the grid, the scales [in] with the least error summed over all `weights` [out, in] that read the same."""
    grid = [scales_of(seen.mean_magnitude, place / GRID) for place in range(GRID)]
    errors = [sum(output_error(weight, scales, seen, options) for weight in weights) for scales in grid]
    return grid[min(range(GRID), key=errors.__getitem__)]


def rounded(weight: Tensor, scales: Tensor, seen: InputStatistics, options: AWQOptions, shape: torch.Size) -> Integers:
    """`weight` [out, in] times `scales` [in], rounded."""
    scaled = weight * scales
    if not options.clip:
        return round_to_nearest(scaled, symmetric_steps(scaled, options.bits, options.group), options.bits, shape)
    importance = seen.scaled(scales).second.diagonal()
    steps = searched_steps(scaled, options.bits, options.group, importance)
    return round_to_nearest(scaled, steps, options.bits, shape)


def run(model: nn.Module, calibration: Calibration | None, options: AWQOptions) -> Weights:
    """Linear layers and convolutions in integers, scaled where a norm precedes them."""
    assert calibration is not None
    layers = find_layers(model, options)
    leave_ungrouped(layers, options.group)
    leave_grouped_windows(layers)
    norms = normed_layers(model, calibration.batches[0])
    statistics = observe(model, calibration, layers.treated)
    leave_unseen(layers, statistics)
    scales: dict[str, Tensor] = {}
    changed: dict[str, Tensor] = {}
    for norm in among(norms, layers.treated):
        matrices = [matrix(layers.treated[name]) for name in norm.layers]
        scale = best_scales(matrices, statistics[norm.layers[0]], options)
        scales |= dict.fromkeys(norm.layers, scale)
        changed |= inverse_scaled(model, norm, scale)
    stored: dict[str, Stored] = {}
    for name, layer in layers.treated.items():
        weight = matrix(layer)
        scale = scales.get(name, torch.ones(weight.size(1)))
        stored[name] = rounded(weight, scale, statistics[name], options, shape_of(layer))
    return finished_scaled(model, layers, stored, options, changed, scales)


METHOD = Method(
    name="awq",
    family=FEW_BITS,
    options=AWQOptions,
    run=run,
    calibrated=True,
    source="Lin et al. 2024, arXiv 2306.00978",
)
