"""Tensor train: a matrix as a chain of small cores, its inputs and outputs split into several dimensions.

Oseledets, "Tensor-Train Decomposition" (SIAM J. Sci. Comput. 33, 2011, DOI 10.1137/090752286). W^T is taken as a tensor
[i_1, .., i_d, o_1, .., o_d], in = i_1 .. i_d and out = o_1 .. o_d, and cut by one SVD after another (TT-SVD), from the
left. What each of them leaves out is orthogonal to all else, so that the square of the error is the sum of the squares
of what they leave out: it is known, not estimated.

A layer of the program multiplies by one core after the other. Small ranks need few products, but each is a small one:
measure whether it is faster than the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.low_rank.budget import TOO_SMALL, RankOptions, balanced, chosen_rank
from harness.models.compress.method import LOW_RANK, Method, Weights, check_range, check_share
from harness.models.compress.stored import Stored, TensorTrain


@dataclass(frozen=True, kw_only=True)
class TensorTrainOptions(RankOptions):
    """`modes` is d, the number of dimensions of the inputs and of the outputs. With `error` ranks are as small as it
    allows, the relative error of the matrix by Frobenius' norm, in place of `share` and `rank`.
    """

    modes: int = 2
    error: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("modes", self.modes, 1, 8)
        if self.error is not None:
            check_share("error", self.error)


def cut(tensor: Tensor, rank: int | None, error: float | None = None) -> tuple[list[Tensor], float]:
    """TT-SVD of `tensor` [n_1, .., n_d]: cores [rank_k, n_k, rank_k+1] of at most `rank`, or of relative `error`; and
    the relative error that they have.
    """
    sizes, norm = tensor.shape, tensor.double().norm().item()
    rest, cores, lost = tensor.double().reshape(1, -1), [], 0.0
    allowed = 0.0 if error is None else (error * norm) ** 2 / max(1, len(sizes) - 1)
    for size in sizes[:-1]:
        before = rest.size(0)
        left, values, right = torch.linalg.svd(rest.reshape(before * size, -1), full_matrices=False)
        tails = values.square().flip(0).cumsum(0).flip(0)  # what is lost where all from here on is left out
        needed = len(values) if error is None else max(1, int((tails > allowed).sum()))
        count = needed if rank is None else min(needed, rank)
        lost += tails[count].item() if count < len(values) else 0.0
        cores.append(left[:, :count].reshape(before, size, count).float())
        rest = values[:count, None] * right[:count]
    cores.append(rest.reshape(rest.size(0), sizes[-1], 1).float())
    return cores, math.sqrt(lost) / norm if norm else 0.0


def full_ranks(sizes: Sequence[int]) -> list[int]:
    """The greatest ranks between the cores of a tensor of these sizes."""
    return [min(math.prod(sizes[:place]), math.prod(sizes[place:])) for place in range(1, len(sizes))]


def rank_of(sizes: Sequence[int], options: RankOptions) -> int | None:
    """The greatest rank of all cores of a tensor of these sizes, see `budget.chosen_rank`."""
    limits = full_ranks(sizes)

    def size_at(rank: int) -> int:
        ranks = [1, *(min(rank, limit) for limit in limits), 1]
        return sum(ranks[place] * size * ranks[place + 1] for place, size in enumerate(sizes))

    return chosen_rank(options, math.prod(sizes), max(limits, default=1), size_at)


def train_of(weight: Tensor, rank: int | None, modes: int, error: float | None = None) -> tuple[TensorTrain, float]:
    """`weight` [out, in] as a train of `modes` cores of its inputs, then as many of its outputs; and its error."""
    outputs, inputs = (balanced(size, modes) for size in weight.shape)
    cores, lost = cut(weight.T.reshape(*inputs, *outputs), rank, error)
    reading = [core[:, None, :, :] for core in cores[:modes]]
    writing = [core[:, :, None, :] for core in cores[modes:]]
    return TensorTrain((*reading, *writing), weight.shape), lost


def trains(
    model: nn.Module,
    options: TensorTrainOptions,
    sizes_of: Callable[[torch.Size], Sequence[int]],
    train: Callable[[Tensor, int | None], tuple[TensorTrain, float]],
) -> Weights:
    """Linear layers as trains: `sizes_of` a weight's shape are those of the tensor that is cut, `train` cuts a weight
    at a rank, and gives its error.
    """
    layers = find_layers(model, options, exact=True, windows=False)
    stored: dict[str, Stored] = {}
    errors = {}
    for name, layer in list(layers.treated.items()):
        rank = None if options.error is not None else rank_of(sizes_of(shape_of(layer)), options)
        if options.error is None and rank is None:
            layers.leave(name, TOO_SMALL)
            continue
        stored[name], errors[name] = train(matrix(layer), rank)
    weights = finished(model, layers, stored, options)
    weights.facts["stated_errors"] = errors
    return weights


def run(model: nn.Module, _: Calibration | None, options: TensorTrainOptions) -> Weights:
    """Linear layers as tensor trains."""

    def sizes(shape: torch.Size) -> list[int]:
        outputs, inputs = (balanced(size, options.modes) for size in shape)
        return [*inputs, *outputs]

    return trains(model, options, sizes, lambda weight, rank: train_of(weight, rank, options.modes, options.error))


METHOD = Method(
    name="tensor-train",
    family=LOW_RANK,
    options=TensorTrainOptions,
    run=run,
    calibrated=False,
    source="Oseledets 2011, DOI 10.1137/090752286",
)
