"""GPTQ: columns are rounded one after another, and the columns still to come make up for the error of each.

Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (ICLR 2023, arXiv 2210.17323, DOI 10.48550/arXiv.2210.17323). With H the mean of x x^T over the layer's
inputs, dampened by a share of its mean diagonal, and U the upper Cholesky factor of its inverse (H^-1 = U^T U), column
j of W is rounded to q_j and

    e_j = (w_j - q_j) / U_jj,    W[:, j:] -= e_j U[j, j:]

The dampened loss tr((W' - W) H (W' - W)^T) is then exactly the sum of all |e_j|^2. Columns go in the order of their
diagonal of H, largest first (the paper's code calls it act-order), and steps are set before any column is rounded.

The sweep is greedy: in some rows it loses more than rounding to nearest. Rows do not depend on each other, so such a
row is rounded to nearest instead (`keep_nearest`; the record counts them), which the paper does not do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import ModelError
from harness.models.compress.calibration import Calibration, observe
from harness.models.compress.layers import (
    Layers,
    find_layers,
    finished,
    leave_grouped_windows,
    leave_ungrouped,
    leave_unseen,
    matrix,
    shape_of,
)
from harness.models.compress.method import FEW_BITS, Method, Options, Weights, check_group, check_range, check_share
from harness.models.compress.rounding import limits, round_to_nearest, searched_steps, symmetric_steps
from harness.models.compress.stored import Integers, Stored

COLUMNS_AT_ONCE = 128
"""Columns whose errors are spread among themselves first, and to all others in one product."""


@dataclass(frozen=True, kw_only=True)
class GPTQOptions(Options):
    """`bits` of a level; `group` inputs of a channel share a step, all of them where it is None.

    `damping` is the share of the mean diagonal that is added to H; `search` chooses the step with the least error
    weighed by H's diagonal, in place of the one that reaches the largest weight; `sequential` lets each layer see its
    inputs as the layers already rounded give them, at the cost of a run of the model for each layer.
    """

    bits: int = 4
    group: int | None = None
    damping: float = 0.01
    search: bool = True
    keep_nearest: bool = True
    sequential: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_group(self.group)
        check_share("damping", self.damping)


def hessian_error(difference: Tensor, second: Tensor) -> Tensor:
    """The squared error of each output, [out]: the diagonal of D H D^T, for D = W' - W [out, in]."""
    return ((difference @ second) * difference).sum(dim=1)


def inverse_factor(second: Tensor, damping: float) -> Tensor:
    """U, upper triangular, with U^T U the inverse of `second` [in, in] and `damping` of its mean diagonal: float64."""
    dampened = second.double()
    dampened = dampened + damping * dampened.diagonal().mean() * torch.eye(len(dampened), dtype=torch.float64)
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(dampened))
        factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    except RuntimeError as error:
        raise ModelError(
            "GPTQ cannot invert what a layer sees of the calibration.", "Give more samples, or a larger damping."
        ) from error
    return factor


def sweep(weight: Tensor, second: Tensor, steps: Tensor, bits: int, damping: float) -> Tensor:
    """The levels, float32 [out, in], of `weight` [out, in] by GPTQ, `steps` [out, groups] given."""
    group = weight.size(1) // steps.size(1)
    used = second.diagonal() > 0
    second = torch.where(used, second, torch.eye(len(second)))  # an input that is always 0 has no error to weigh
    order = torch.argsort(second.diagonal() * used, descending=True, stable=True)
    factor = inverse_factor(second[order][:, order], damping).float()
    step_of = steps.repeat_interleave(group, dim=1)[:, order]
    left, levels = weight[:, order].clone(), torch.empty_like(weight)
    low, high = limits(bits)
    for start in range(0, weight.size(1), COLUMNS_AT_ONCE):
        end = min(start + COLUMNS_AT_ONCE, weight.size(1))
        errors = torch.empty(len(weight), end - start)
        for column in range(start, end):
            level = (left[:, column] / step_of[:, column]).round().clamp(low, high)
            error = (left[:, column] - level * step_of[:, column]) / factor[column, column]
            left[:, column:end] -= torch.outer(error, factor[column, column:end])
            levels[:, column], errors[:, column - start] = level, error
        left[:, end:] -= errors @ factor[start:end, end:]
    return levels[:, torch.argsort(order)]


def rounded(weight: Tensor, second: Tensor, options: GPTQOptions, shape: torch.Size) -> tuple[Integers, int]:
    """A matrix by GPTQ, and how many of its rows are rounded to nearest instead."""
    if options.search:
        steps = searched_steps(weight, options.bits, options.group, second.diagonal())
    else:
        steps = symmetric_steps(weight, options.bits, options.group)
    levels = sweep(weight, second, steps, options.bits, options.damping)
    swept = Integers(levels.to(torch.int8), steps, options.bits, shape)
    if not options.keep_nearest:
        return swept, 0
    nearest = round_to_nearest(weight, steps, options.bits, shape)
    errors = [hessian_error(code.weight().view_as(weight) - weight, second) for code in (swept, nearest)]
    worse = errors[0] > errors[1]
    mixed = torch.where(worse[:, None], nearest.levels, swept.levels)
    return Integers(mixed, steps, options.bits, shape), int(worse.sum())


def run(model: nn.Module, calibration: Calibration | None, options: GPTQOptions) -> Weights:
    """Linear layers and convolutions by GPTQ, on the inputs of the calibration."""
    assert calibration is not None
    layers = find_layers(model, options)
    leave_ungrouped(layers, options.group)
    leave_grouped_windows(layers)
    if options.sequential:
        stored, rows = _in_turn(model, calibration, layers, options)
    else:
        statistics = observe(model, calibration, layers.treated)
        leave_unseen(layers, statistics)
        stored, rows = {}, 0
        for name, layer in layers.treated.items():
            stored[name], nearest = rounded(matrix(layer), statistics[name].second, options, shape_of(layer))
            rows += nearest
    weights = finished(model, layers, stored, options)
    weights.facts["rows_to_nearest"] = rows
    return weights


@torch.no_grad()
def _in_turn(
    model: nn.Module, calibration: Calibration, layers: Layers, options: GPTQOptions
) -> tuple[dict[str, Stored], int]:
    """Layer by layer in the order in which the model runs them, with those before it rounded already."""
    stored: dict[str, Stored] = {}
    rows = 0
    names = list(observe(model, Calibration(calibration.batches[:1], 0, ""), layers.treated))
    leave_unseen(layers, names)
    trained = {name: layers.treated[name].weight.clone() for name in names}  # type: ignore[operator]
    try:
        for name in names:
            layer = layers.treated[name]
            second = observe(model, calibration, [name], stop=True)[name].second
            stored[name], nearest = rounded(matrix(layer), second, options, shape_of(layer))
            rows += nearest
            layer.weight.copy_(stored[name].weight())  # type: ignore[operator]
    finally:
        for name, weight in trained.items():
            layers.treated[name].weight.copy_(weight)  # type: ignore[operator]
    return stored, rows


METHOD = Method(
    name="gptq",
    family=FEW_BITS,
    options=GPTQOptions,
    run=run,
    calibrated=True,
    source="Frantar et al. 2023, arXiv 2210.17323",
)
