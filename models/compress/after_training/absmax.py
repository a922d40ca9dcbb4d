"""Absmax: each weight is an integer times a step, the step being the largest weight over the largest level.

    step = max |w| / (2^(b-1) - 1),    level = round(w / step)

Dettmers, Lewis, Belkada and Zettlemoyer, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (NeurIPS
2022, arXiv 2208.07339, DOI 10.48550/arXiv.2208.07339), section 2. That paper's table has it per tensor, per row of the
activations (row-wise), and with a step for each output channel of the weights besides (vector-wise). Programs of ours
round activations token by token in any case, so row-wise is `per="tensor"` here and vector-wise is `per="channel"`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.method import EIGHT_BIT, Method, Options, Weights, check_choice, check_range
from harness.models.compress.rounding import absmax

PER = ("tensor", "channel")


@dataclass(frozen=True, kw_only=True)
class AbsmaxOptions(Options):
    """`bits` of a level; `per` is what shares a step: a `tensor` of weights, or an output `channel` of one."""

    bits: int = 8
    per: str = "channel"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_choice("per", self.per, PER)


def run(model: nn.Module, _: Calibration | None, options: AbsmaxOptions) -> Weights:
    """Linear layers, convolutions and, by `embedding_bits`, embeddings at the nearest level of their absmax grid."""
    layers = find_layers(model, options)
    stored = {
        name: absmax(matrix(layer), options.bits, shape_of(layer), per_tensor=options.per == "tensor")
        for name, layer in layers.treated.items()
    }
    return finished(model, layers, dict(stored), options)


METHOD = Method(
    name="absmax",
    family=EIGHT_BIT,
    options=AbsmaxOptions,
    run=run,
    calibrated=False,
    source="Dettmers et al. 2022, arXiv 2208.07339, section 2",
)
