"""LLM.int8(): columns that read outlying activations stay in float16, all others are rounded to 8 bits.

Dettmers, Lewis, Belkada and Zettlemoyer, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (NeurIPS
2022, arXiv 2208.07339, DOI 10.48550/arXiv.2208.07339). A feature is an outlier where some |x_j| reaches `threshold`.
The paper decides that for every product anew; here it is decided once, from the calibration, so that a program can be
exported, and an outlier that the calibration does not show is rounded. A model without outliers becomes that of absmax.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration, observe
from harness.models.compress.layers import (
    find_layers,
    finished,
    leave_grouped_windows,
    leave_unseen,
    matrix,
    shape_of,
)
from harness.models.compress.method import EIGHT_BIT, Method, Options, Weights, check_share
from harness.models.compress.rounding import absmax
from harness.models.compress.stored import OutlierColumns, Stored

BITS = 8


@dataclass(frozen=True, kw_only=True)
class LLMInt8Options(Options):
    """`threshold` is the magnitude from which an input counts as an outlier."""

    threshold: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("threshold", self.threshold, most=1e9)


def decomposed(weight: Tensor, largest: Tensor, threshold: float, shape: torch.Size) -> OutlierColumns:
    """`weight` [out, in] for inputs whose `largest` magnitudes [in] are given."""
    outlying = largest >= threshold
    integers = absmax(weight * ~outlying, BITS, torch.Size(weight.shape))
    columns = outlying.nonzero().flatten()
    return OutlierColumns(replace(integers, shape=shape), columns, weight[:, columns].half().float())


def run(model: nn.Module, calibration: Calibration | None, options: LLMInt8Options) -> Weights:
    """Linear layers and convolutions in 8 bits but for their outlier columns."""
    assert calibration is not None
    layers = find_layers(model, options)
    leave_grouped_windows(layers)
    statistics = observe(model, calibration, layers.treated)
    leave_unseen(layers, statistics)
    stored: dict[str, Stored] = {}
    columns = {}
    for name, layer in layers.treated.items():
        code = decomposed(matrix(layer), statistics[name].largest, options.threshold, shape_of(layer))
        stored[name] = code if len(code.columns) else code.integers
        columns[name] = len(code.columns)
    weights = finished(model, layers, stored, options)
    weights.facts["outlier_columns"] = {name: count for name, count in columns.items() if count}
    weights.facts["largest_input"] = max(seen.largest.max().item() for seen in statistics.values())
    return weights


METHOD = Method(
    name="llm-int8",
    family=EIGHT_BIT,
    options=LLMInt8Options,
    run=run,
    calibrated=True,
    source="Dettmers et al. 2022, arXiv 2208.07339",
)
