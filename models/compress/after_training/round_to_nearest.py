"""Round to nearest: the plain rounding that every better method is compared with.

The step of a channel, or of a group of its inputs, is max |w| / ((2^b - 1) / 2), that of torchao's and ExecuTorch's
int4; `search` takes a smaller one where that rounds with less error, as the MSE grids of Choukroun et al., "Low-bit
Quantization of Neural Networks for Efficient Inference" (ICCVW 2019, arXiv 1902.06822, DOI 10.1109/ICCVW.2019.00363).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, leave_ungrouped, matrix, shape_of
from harness.models.compress.method import FEW_BITS, Method, Options, Weights, check_group, check_range
from harness.models.compress.rounding import round_to_nearest, searched_steps, symmetric_steps


@dataclass(frozen=True, kw_only=True)
class NearestOptions(Options):
    """`bits` of a level; `group` inputs of a channel share a step, all of them where it is None; `search` the step."""

    bits: int = 4
    group: int | None = None
    search: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_group(self.group)


def run(model: nn.Module, _: Calibration | None, options: NearestOptions) -> Weights:
    """Linear layers and convolutions at the nearest level."""
    layers = find_layers(model, options)
    leave_ungrouped(layers, options.group)
    steps_of = searched_steps if options.search else symmetric_steps
    stored = {}
    for name, layer in layers.treated.items():
        steps = steps_of(matrix(layer), options.bits, options.group)
        stored[name] = round_to_nearest(matrix(layer), steps, options.bits, shape_of(layer))
    return finished(model, layers, dict(stored), options)


METHOD = Method(
    name="round-to-nearest",
    family=FEW_BITS,
    options=NearestOptions,
    run=run,
    calibrated=False,
    source="the rounding that papers compare with; steps as in torchao's int4",
)
