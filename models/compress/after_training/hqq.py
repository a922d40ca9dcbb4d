"""HQQ: the zero point of each group is fitted to the weights by a half-quadratic solver, without any data.

Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023, a report of Mobius Labs,
mobiusml.github.io/hqq_blog; it has no DOI). The norm |W - W'|_p^p with p < 1 tolerates a few large errors. With an
auxiliary E for the error it is split, and both parts have a solution in closed form; beta grows by kappa:

    E = shrink_p(W - W', beta),    zero = mean over the group of (level - (W - E) / step)

where shrink_p(x, beta) = sign(x) max(0, |x| - |x|^(p-1) / beta), and W' = (level - zero) step. Zero points are no
integers, for which XNNPACK has no kernel: exported programs compute in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, leave_ungrouped, matrix, shape_of
from harness.models.compress.method import FEW_BITS, Method, Options, Weights, check_group, check_range, check_share
from harness.models.compress.rounding import asymmetric_grid, grouped, round_asymmetric
from harness.models.compress.stored import Integers


@dataclass(frozen=True, kw_only=True)
class HQQOptions(Options):
    """`bits` of a level; `group` inputs of a channel share a step and a zero point, all of them where it is None.

    `norm` is p, `beta` and `kappa` weigh the error and let that grow, for at most `steps` rounds, which end sooner when
    the error no longer falls.
    """

    bits: int = 4
    group: int | None = 64
    norm: float = 0.7
    beta: float = 10.0
    kappa: float = 1.01
    steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_group(self.group)
        check_share("norm", self.norm)
        check_share("beta", self.beta, most=1e6)
        check_range("steps", self.steps, 0, 1000)


def shrink(x: Tensor, beta: float, norm: float) -> Tensor:
    """The solution of min |e|_p^p + beta / 2 |e - x|^2, approximately, for each entry of `x`."""
    size = x.abs()
    return x.sign() * (size - size.clamp(min=1e-12).pow(norm - 1) / beta).clamp(min=0)


def rounded(weight: Tensor, options: HQQOptions, shape: torch.Size) -> Integers:
    """`weight` [out, in] with the zero points of least error that the solver meets."""
    parts = grouped(weight, options.group)
    steps, zeros = asymmetric_grid(weight, options.bits, options.group)
    most, beta = (1 << options.bits) - 1, options.beta
    best, least = zeros, torch.inf
    for _ in range(options.steps + 1):
        levels = (parts / steps[:, :, None] + zeros[:, :, None]).round().clamp(0, most)
        difference = parts - (levels - zeros[:, :, None]) * steps[:, :, None]
        error = difference.abs().mean().item()
        if not error < least:
            break
        best, least = zeros, error
        corrected = (parts - shrink(difference, beta, options.norm)) / steps[:, :, None]
        zeros = (levels - corrected).mean(dim=2)
        beta *= options.kappa
    return round_asymmetric(weight, steps, best.half().float(), options.bits, shape)


def run(model: nn.Module, _: Calibration | None, options: HQQOptions) -> Weights:
    """Linear layers and convolutions with fitted zero points."""
    layers = find_layers(model, options)
    leave_ungrouped(layers, options.group)
    stored = {name: rounded(matrix(layer), options, shape_of(layer)) for name, layer in layers.treated.items()}
    return finished(model, layers, dict(stored), options)


METHOD = Method(
    name="hqq",
    family=FEW_BITS,
    options=HQQOptions,
    run=run,
    calibrated=False,
    source="Badri and Shaji 2023, mobiusml.github.io/hqq_blog",
)
