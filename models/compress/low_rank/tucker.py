"""Tucker: layers of one kind share what they read and write, and differ in a small core.

Tucker, "Some mathematical notes on three-mode factor analysis" (Psychometrika 31, 1966, DOI 10.1007/BF02289464). The
matrices of L layers [out, in] are a tensor [L, out, in]. With orthogonal A [out, p] and B [in, q] for all of them,

    W_l = A C_l B^T,    C_l = A^T W_l B

by higher-order orthogonal iteration: De Lathauwer, De Moor and Vandewalle, "On the best rank-1 and rank-(R1,...,RN)
approximation of higher-order tensors" (SIAM J. Matrix Anal. Appl. 21, 2000, DOI 10.1137/S0895479898346995). The mode of
the layers is not cut. A layer alone of its kind would give its SVD. Layers are of one kind where their names differ in
numbers only and their shapes do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.models.compress.calibration import Calibration
from harness.models.compress.layers import Layers, find_layers, finished, matrix, shape_of
from harness.models.compress.low_rank.budget import TOO_SMALL, RankOptions, chosen_rank
from harness.models.compress.method import LOW_RANK, Method, Weights, check_range
from harness.models.compress.stored import Factors, Stored


@dataclass(frozen=True, kw_only=True)
class TuckerOptions(RankOptions):
    """`rank` is that of the longer side; the shorter one's is in proportion to it. `rounds` of the iteration."""

    rounds: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rounds", self.rounds, 0, 1000)


def decompose(stack: Tensor, ranks: tuple[int, int], rounds: int) -> tuple[Tensor, Tensor, Tensor]:
    """A [out, p], the cores [L, p, q] and B [in, q] of `stack` [L, out, in], with `ranks` (p, q)."""
    stack = stack.double()
    left = leading(stack, ranks[0])
    right = leading(stack.transpose(1, 2), ranks[1])
    for _ in range(rounds):
        left = leading(stack @ right, ranks[0])
        right = leading(stack.transpose(1, 2) @ left, ranks[1])
    return left.float(), (left.T @ stack @ right).float(), right.float()


def leading(stack: Tensor, count: int) -> Tensor:
    """The `count` leading left singular vectors [rows, count] of `stack` [L, rows, columns], its matrices in a row."""
    side = stack.transpose(0, 1).flatten(1)
    vectors: Tensor = torch.linalg.eigh(side @ side.T).eigenvectors
    return vectors[:, -count:].flip(1)


def kinds(layers: Layers) -> list[list[str]]:
    """The names of layers that are of one kind."""
    groups: dict[tuple[str, torch.Size], list[str]] = {}
    for name, layer in layers.treated.items():
        groups.setdefault((re.sub(r"\d+", "*", name), shape_of(layer)), []).append(name)
    return list(groups.values())


def ranks_of(rows: int, columns: int, count: int, options: RankOptions) -> tuple[int, int] | None:
    """The ranks (p, q) for `count` matrices [rows, columns]."""
    longer = max(rows, columns)

    def ranks(rank: int) -> tuple[int, int]:
        return max(1, rank * rows // longer), max(1, rank * columns // longer)

    def size(rank: int) -> int:
        p, q = ranks(rank)
        return rows * p + columns * q + count * p * q

    rank = chosen_rank(options, count * rows * columns, longer, size)
    return None if rank is None else ranks(rank)


def run(model: nn.Module, _: Calibration | None, options: TuckerOptions) -> Weights:
    """Linear layers as three factors, of which the first and the last are those of all layers of a kind."""
    layers = find_layers(model, options, exact=True, windows=False)
    stored: dict[str, Stored] = {}
    for names in kinds(layers):
        matrices = torch.stack([matrix(layers.treated[name]) for name in names])
        ranks = ranks_of(matrices.size(1), matrices.size(2), len(names), options)
        if ranks is None:
            for name in names:
                layers.leave(name, TOO_SMALL)
            continue
        left, cores, right = decompose(matrices, ranks, options.rounds)
        reading = right.T.contiguous()
        for name, core in zip(names, cores, strict=True):
            shared = {} if name == names[0] else {0: names[0], 2: names[0]}
            stored[name] = Factors((reading, core.clone(), left), shape_of(layers.treated[name]), shared)
    return finished(model, layers, stored, options)


METHOD = Method(
    name="tucker",
    family=LOW_RANK,
    options=TuckerOptions,
    run=run,
    calibrated=False,
    source="Tucker 1966, DOI 10.1007/BF02289464",
)
