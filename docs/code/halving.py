"""A compression method of your own: small weights become 0, and the others are rounded to 8 bits."""

from dataclasses import dataclass

from torch import nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.method import EIGHT_BIT, Method, Options, Weights
from harness.models.compress.rounding import absmax


@dataclass(frozen=True, kw_only=True)
class HalvingOptions(Options):
    """`share` of the weights of each layer, the smallest, become 0."""

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share < 1:
            raise ValueError(f"share is {self.share}, not a number from 0 and below 1")


def run(model: nn.Module, calibration: Calibration | None, options: HalvingOptions) -> Weights:
    layers = find_layers(model, options)
    stored = {}
    for name, layer in layers.treated.items():
        weight = matrix(layer)
        limit = weight.abs().flatten().quantile(options.share)
        stored[name] = absmax(weight * (weight.abs() >= limit), 8, shape_of(layer))
    return finished(model, layers, dict(stored), options)


METHOD = Method(
    name="halving",
    family=EIGHT_BIT,
    options=HalvingOptions,
    run=run,
    calibrated=False,
    source="docs/adding-a-method.md",
)
