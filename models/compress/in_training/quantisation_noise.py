"""Quantisation noise: at each training step only a random share of the weights is rounded.

Stock, Fan, Graham, Grave, Gribonval, Jegou and Joulin, "Training with Quantization Noise for Extreme Model Compression"
(ICLR 2021, arXiv 2004.07320, DOI 10.48550/arXiv.2004.07320), in its form for integers (intN), where each weight is
rounded or not by its own chance. The gradient of a weight that is not rounded has no bias; that of a rounded one passes
through the rounding unchanged (the straight-through estimator). After training, and whenever the model is evaluated,
all weights are rounded.

Differs from the paper: the grid is that of `qat`, and all inputs of layers are rounded, as there. The authors' code
(fairseq) has a grid with a zero point for a whole matrix or for a channel, computes it again only after 1000 forward
passes, rounds embeddings too, and in training rounds a random share of the activations, not all.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from harness.models.compress.in_training import qat
from harness.models.compress.method import IN_TRAINING, TrainedMethod


@dataclass(frozen=True, kw_only=True)
class NoiseOptions(qat.QatOptions):
    """Those of `qat`, and the `share` of the weights that a training step rounds, from 0 to 1; the example in the
    authors' code has 0.5 for integers. Raises ValueError for a number out of range.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, not a number from 0 to 1")


def start(model: nn.Module, options: NoiseOptions) -> qat.Qat:
    """Round a random share of the weights of `model` while it is trained."""
    return qat.start(model, options, options.share)


METHOD = TrainedMethod(
    name="quantisation-noise",
    family=IN_TRAINING,
    options=NoiseOptions,
    start=start,
    source="Stock et al. 2021, arXiv 2004.07320",
)
