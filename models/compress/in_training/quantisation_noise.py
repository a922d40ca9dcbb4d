"""Quantisation noise: at each training step only a random share of the weights is rounded.

Stock, Fan, Graham, Grave, Gribonval, Jegou and Joulin, "Training with Quantization Noise for Extreme Model Compression"
(ICLR 2021, arXiv 2004.07320, DOI 10.48550/arXiv.2004.07320), in its form for integers (intN), which draws weight by
weight. Where a weight is not rounded its gradient is exact; where it is, it passes the rounding unchanged. So the bias
of the straight-through estimator, which grows with the rounding error, falls with the share, and every weight is
rounded at some steps. After training, and whenever the model is evaluated, all weights are rounded.

The grid and the rounded inputs of layers are those of `qat`; the paper's grid has a zero point for each channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from harness.models.compress.in_training import qat
from harness.models.compress.method import IN_TRAINING, TrainedMethod


@dataclass(frozen=True, kw_only=True)
class NoiseOptions(qat.QatOptions):
    """Those of `qat`, and the `share` of the weights that a training step rounds, 0 to 1; the authors' examples have
    0.5 for integers.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, not a number from 0 to 1")


def start(model: nn.Module, options: NoiseOptions) -> qat.Qat:
    """Round a share of the weights of `model` in training."""
    return qat.start(model, options, options.share)


METHOD = TrainedMethod(
    name="quantisation-noise",
    family=IN_TRAINING,
    options=NoiseOptions,
    start=start,
    source="Stock et al. 2021, arXiv 2004.07320",
)
