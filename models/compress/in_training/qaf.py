"""Quantisation-aware fine-tuning with learned steps: a rounded model is trained further, together with its steps.

Quantisation-aware fine-tuning (QAF) is no single published algorithm: overviews of quantisation use this name for
training a model further after it was rounded. What is learned here, and how, is defined by Esser, McKinstry, Bablani,
Appuswamy and Modha, "Learned Step Size Quantization" (LSQ, ICLR 2020, arXiv 1902.08153, DOI
10.48550/arXiv.1902.08153). Where v is a weight and s its step, the layer computes with

    v' = round(clip(v / s, -2^(b-1), 2^(b-1) - 1)) * s

dv'/dv is 1 inside of the clip and 0 outside; dv'/ds is round(v / s) - v / s inside and the limit itself outside, times
g = 1 / sqrt(n * (2^(b-1) - 1)) where n weights share the step. Training starts from trained float32 weights.

Differs from the paper:

* the steps begin at those of rounding after training that have the least squared error (`rounding.searched_steps`), so
  that the rounded model is the one that is trained further; the paper's begin at 2 mean|v| / sqrt(2^(b-1) - 1);
* a channel, or a group of its inputs, has a step; in the paper a layer has one;
* inputs of layers are rounded token by token, as in `qat` and in programs; the paper learns their steps too;
* all layers that are rounded have the same number of bits; in the paper the first and the last layer have 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.models.compress.in_training.fake_quantisation import Rounding
from harness.models.compress.in_training.qat import Qat, QatOptions
from harness.models.compress.method import IN_TRAINING, TrainedMethod
from harness.models.compress.rounding import SMALLEST, grouped, limits, searched_steps, stored_steps


@dataclass(frozen=True, kw_only=True)
class QafOptions(QatOptions):
    """Those of `qat`, and the `step_rate`: AdamW's learning rate for the steps. Raises ValueError for a number out of
    range.
    """

    step_rate: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.step_rate < math.inf:
            raise ValueError(f"step_rate is {self.step_rate}, not a number of at least 0")


class LearnedSteps(Rounding):
    """Rounding with steps that are learned with the weights: `learned` float32 [out, groups]."""

    def __init__(self, bits: int, steps: Tensor) -> None:
        super().__init__(bits)
        self.learned = nn.Parameter(steps)

    def steps(self, weight: Tensor) -> Tensor:
        return stored_steps(self.learned.detach()).clamp(min=SMALLEST)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        parts = grouped(matrix, matrix.size(1) // self.learned.size(1))
        least, most = limits(self.bits)
        scaled = self.learned / math.sqrt(parts.size(2) * most)
        steps = (self.steps(matrix) + (scaled - scaled.detach()))[:, :, None]  # their gradient is multiplied by g
        levels = (parts / steps).clamp(least, most)
        levels = levels + (levels.round() - levels).detach()
        return (levels * steps).view_as(weight)


class Qaf(Qat):
    """Rounds the weights of `model` with learned steps, and the inputs of its linear layers."""

    options: QafOptions

    def __init__(self, model: nn.Module, options: QafOptions) -> None:
        bits, group = options.bits, options.group
        super().__init__(model, options, lambda weight: LearnedSteps(bits, searched_steps(weight, bits, group)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        learned = [rounding.learned for rounding in self.roundings.values() if isinstance(rounding, LearnedSteps)]
        return [{"params": learned, "lr": self.options.step_rate}]


METHOD = TrainedMethod(
    name="qaf",
    family=IN_TRAINING,
    options=QafOptions,
    start=Qaf,
    source="Esser et al. 2020, arXiv 1902.08153",
)
