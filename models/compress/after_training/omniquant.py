"""OmniQuant: how far each row is clipped, and what its inputs are scaled by, are learned by gradient.

Shao, Chen, Zhang, Xu, Zhao, Li, Zhang, Gao, Qiao and Luo, "OmniQuant: Omnidirectionally Calibrated Quantization for
Large Language Models" (ICLR 2024, arXiv 2308.13137, DOI 10.48550/arXiv.2308.13137). Learnable weight clipping: the
largest weight of a group is taken times sigmoid(g), g beginning at 4. Learnable equivalent transformation: the inputs
of layers that read a norm are divided by exp(t) and the weights multiplied by it, t beginning at SmoothQuant's scales.
Both are trained by AdamW, with the derivative of rounding taken as 1.

The paper lowers the error of a transformer block's output. A module of a user has no blocks that are known, so here it
is the error of the outputs of all layers that read one norm, or of a single layer: tr(D H D^T), D = W' - W and H the
mean of x x^T, which needs no pass through the model. The learned shift of inputs is left out, as for LLaMA in the paper
(it needs layers with a bias).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.after_training.gptq import hessian_error
from harness.models.compress.after_training.smoothquant import smoothing
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
from harness.models.compress.method import FEW_BITS, Method, Options, Weights, check_group, check_range, check_share
from harness.models.compress.normed import among, inverse_scaled, normed_layers
from harness.models.compress.rounding import SMALLEST, grouped, limits, round_to_nearest, stored_steps
from harness.models.compress.stored import Stored

INITIAL_CLIP = 4.0


@dataclass(frozen=True, kw_only=True)
class OmniQuantOptions(Options):
    """`bits` of a level; `group` inputs of a channel share a step, all of them where it is None.

    `steps` of AdamW, with `clip_rate` for the clipping and `scale_rate` for the scales; `alpha` is SmoothQuant's.
    """

    bits: int = 4
    group: int | None = None
    steps: int = 40
    clip_rate: float = 0.05
    scale_rate: float = 0.01
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_group(self.group)
        check_range("steps", self.steps, 0, 10_000)
        check_share("clip_rate", self.clip_rate)
        check_share("scale_rate", self.scale_rate)


def clipped_steps(weight: Tensor, clip: Tensor, options: OmniQuantOptions) -> Tensor:
    """Steps [out, groups] for a largest weight times sigmoid(`clip` [out, groups])."""
    largest = grouped(weight, options.group).abs().amax(dim=2)
    return (torch.sigmoid(clip) * largest / (((1 << options.bits) - 1) / 2)).clamp(min=SMALLEST)


def straight_through(weight: Tensor, steps: Tensor, bits: int) -> Tensor:
    """`weight` [out, in] at the nearest level, with the derivatives of weight and steps as if rounding were none."""
    parts = grouped(weight, weight.size(1) // steps.size(1)) / steps[:, :, None]
    low, high = limits(bits)
    clamped = parts.clamp(low, high)
    levels = clamped + (clamped.round() - clamped).detach()
    return (levels * steps[:, :, None]).view_as(weight)


def learn(
    weights: list[Tensor], seen: InputStatistics, scales: Tensor | None, options: OmniQuantOptions
) -> tuple[list[Tensor], Tensor]:
    """Steps [out, groups] for each of `weights` [out, in] that read the same inputs, and the scales [in] of these; they
    are all 1 where `scales` is None. Of all that training passes through, those with the least error.
    """
    width = weights[0].size(1)
    clips = [torch.full((len(weight), width // (options.group or width)), INITIAL_CLIP) for weight in weights]
    logarithm = torch.zeros(width) if scales is None else scales.log()
    groups = [{"params": [clip.requires_grad_() for clip in clips], "lr": options.clip_rate}]
    if scales is not None:
        groups.append({"params": [logarithm.requires_grad_()], "lr": options.scale_rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    least, best = torch.inf, ([clip.detach().clone() for clip in clips], logarithm.detach().clone())
    for step in range(options.steps + 1):
        loss = torch.zeros(())
        for weight, clip in zip(weights, clips, strict=True):
            scaled = weight * logarithm.exp()
            raw = clipped_steps(scaled, clip, options)
            code = straight_through(scaled, raw + (stored_steps(raw) - raw).detach(), options.bits)
            loss = loss + hessian_error(code / logarithm.exp() - weight, seen.second).sum()
        if loss.item() < least:
            least, best = loss.item(), ([clip.detach().clone() for clip in clips], logarithm.detach().clone())
        if step < options.steps:
            optimizer.zero_grad()
            (loss / loss.detach().clamp(min=SMALLEST)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    clips, logarithm = best
    scales = logarithm.exp()
    steps = [
        stored_steps(clipped_steps(weight * scales, clip, options)) for weight, clip in zip(weights, clips, strict=True)
    ]
    return steps, scales


def run(model: nn.Module, calibration: Calibration | None, options: OmniQuantOptions) -> Weights:
    """Linear layers and convolutions in integers with learned steps, and learned scales where a norm precedes them."""
    assert calibration is not None
    layers = find_layers(model, options)
    leave_ungrouped(layers, options.group)
    leave_grouped_windows(layers)
    norms = normed_layers(model, calibration.batches[0])
    statistics = observe(model, calibration, layers.treated)
    leave_unseen(layers, statistics)
    norms = among(norms, layers.treated)
    scales: dict[str, Tensor] = {}
    changed: dict[str, Tensor] = {}
    steps: dict[str, Tensor] = {}
    for norm in norms:
        matrices = [matrix(layers.treated[name]) for name in norm.layers]
        seen = statistics[norm.layers[0]]
        learned, scale = learn(matrices, seen, smoothing(seen.largest, matrices, options.alpha), options)
        steps |= dict(zip(norm.layers, learned, strict=True))
        scales |= dict.fromkeys(norm.layers, scale)
        changed |= inverse_scaled(model, norm, scale)
    for name, layer in layers.treated.items():
        if name not in steps:
            (steps[name],), _ = learn([matrix(layer)], statistics[name], None, options)
    stored: dict[str, Stored] = {}
    for name, layer in layers.treated.items():
        weight = matrix(layer) * scales[name] if name in scales else matrix(layer)
        stored[name] = round_to_nearest(weight, steps[name], options.bits, shape_of(layer))
    return finished_scaled(model, layers, stored, options, changed, scales)


METHOD = Method(
    name="omniquant",
    family=FEW_BITS,
    options=OmniQuantOptions,
    run=run,
    calibrated=True,
    source="Shao et al. 2024, arXiv 2308.13137",
)
