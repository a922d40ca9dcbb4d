"""SmoothQuant: channels with large activations are made smaller, and the weights that read them larger, before both
are rounded to 8 bits.

Xiao, Lin, Seznec, Wu, Demouth and Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
Language Models" (ICML 2023, arXiv 2211.10438, DOI 10.48550/arXiv.2211.10438):

    s_j = max |x_j|^alpha / max |w_j|^(1 - alpha),    (x / s) (s W)^T = x W^T

The division is taken into the norm before the layers, so only layers that read a norm and nothing else are smoothed;
the others are rounded as they are. All layers that read one norm share its scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration, observe
from harness.models.compress.layers import (
    find_layers,
    finished_scaled,
    leave_grouped_windows,
    leave_unseen,
    matrix,
    shape_of,
)
from harness.models.compress.method import EIGHT_BIT, Method, Options, Weights, check_range
from harness.models.compress.normed import Normed, among, inverse_scaled, normed_layers
from harness.models.compress.rounding import absmax
from harness.models.compress.stored import Stored

LEAST = 1e-5
"""Of a largest activation or weight: a channel that is always 0 has a scale all the same."""


@dataclass(frozen=True, kw_only=True)
class SmoothQuantOptions(Options):
    """`alpha` says how much of the difficulty goes to the weights, 0 to 1; `bits` of a level."""

    alpha: float = 0.5
    bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}, not a number from 0 to 1")


def smoothing(largest: Tensor, weights: list[Tensor], alpha: float) -> Tensor:
    """s [in] for inputs whose `largest` magnitudes [in] are given and all `weights` [out, in] that read them."""
    of_weights = torch.cat(weights).abs().amax(dim=0).clamp(min=LEAST)
    return largest.clamp(min=LEAST).pow(alpha) / of_weights.pow(1 - alpha)


def run(model: nn.Module, calibration: Calibration | None, options: SmoothQuantOptions) -> Weights:
    """Linear layers and convolutions in integers with a step for each channel, smoothed where a norm precedes them."""
    assert calibration is not None
    layers = find_layers(model, options)
    leave_grouped_windows(layers)
    norms: list[Normed] = among(normed_layers(model, calibration.batches[0]), layers.treated)
    statistics = observe(model, calibration, layers.treated)
    leave_unseen(layers, statistics)
    scales: dict[str, Tensor] = {}
    changed: dict[str, Tensor] = {}
    for norm in among(norms, layers.treated):
        matrices = [matrix(layers.treated[name]) for name in norm.layers]
        scale = smoothing(statistics[norm.layers[0]].largest, matrices, options.alpha)
        scales |= dict.fromkeys(norm.layers, scale)
        changed |= inverse_scaled(model, norm, scale)
    stored: dict[str, Stored] = {}
    for name, layer in layers.treated.items():
        weight = matrix(layer)
        stored[name] = absmax(weight * scales[name] if name in scales else weight, options.bits, shape_of(layer))
    return finished_scaled(model, layers, stored, options, changed, scales)


METHOD = Method(
    name="smoothquant",
    family=EIGHT_BIT,
    options=SmoothQuantOptions,
    run=run,
    calibrated=True,
    source="Xiao et al. 2023, arXiv 2211.10438",
)
