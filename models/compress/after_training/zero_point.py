"""Zero-point: levels from 0 to 2^b - 1 that reach from the least weight to the greatest, one of them standing for 0.

    step = (max w - min w) / (2^b - 1),    zero = round(-min w / step),    level = round(w / step + zero)

Dettmers, Lewis, Belkada and Zettlemoyer, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (NeurIPS
2022, arXiv 2208.07339, DOI 10.48550/arXiv.2208.07339), section 2; Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR 2018, DOI 10.1109/CVPR.2018.00286), make 0 a level, as
here. XNNPACK has no kernel for dynamic activations with such weights: exported programs compute in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, leave_ungrouped, matrix, shape_of
from harness.models.compress.method import EIGHT_BIT, Method, Options, Weights, check_choice, check_group, check_range
from harness.models.compress.rounding import asymmetric_grid, round_asymmetric

PER = ("tensor", "channel")


@dataclass(frozen=True, kw_only=True)
class ZeroPointOptions(Options):
    """`bits` of a level; `per` is what shares a step and a zero point: a `tensor` of weights, or an output `channel` of
    one, or with `group` so many inputs of a channel.
    """

    bits: int = 8
    per: str = "channel"
    group: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_choice("per", self.per, PER)
        check_group(self.group)
        if self.group is not None and self.per == "tensor":
            raise ValueError("per is 'tensor', which has no groups")


def run(model: nn.Module, _: Calibration | None, options: ZeroPointOptions) -> Weights:
    """Linear layers and convolutions at the nearest level of their asymmetric grid."""
    layers = find_layers(model, options)
    leave_ungrouped(layers, options.group)
    stored = {}
    for name, layer in layers.treated.items():
        weight = matrix(layer)
        steps, zeros = asymmetric_grid(weight, options.bits, options.group, per_tensor=options.per == "tensor")
        stored[name] = round_asymmetric(weight, steps, zeros, options.bits, shape_of(layer))
    return finished(model, layers, dict(stored), options)


METHOD = Method(
    name="zero-point",
    family=EIGHT_BIT,
    options=ZeroPointOptions,
    run=run,
    calibrated=False,
    source="Dettmers et al. 2022, arXiv 2208.07339, section 2",
)
