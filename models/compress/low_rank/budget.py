"""How much a low-rank method keeps: the largest rank whose parameters fit a share of the matrix's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.models.compress.method import Options, check_range, check_share


@dataclass(frozen=True, kw_only=True)
class RankOptions(Options):
    """`share` of a layer's parameters that its factors have at most; or their `rank`, where that is given."""

    share: float = 0.5
    rank: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("share", self.share)
        if self.rank is not None:
            check_range("rank", self.rank, 1, 1 << 20)


def chosen_rank(options: RankOptions, parameters: int, most: int, size_at: Callable[[int], int]) -> int | None:
    """The rank of `options`, at most `most`, for a matrix of so many `parameters`; `size_at` says what a rank takes and
    grows with it. None where not even rank 1 is smaller than the share.
    """
    if options.rank is not None:
        return min(options.rank, most)
    allowed, low, high = options.share * parameters, 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size_at(middle) <= allowed else (low, middle - 1)
    return low or None


TOO_SMALL = "its factors would not be smaller, at any rank"
"""Why a layer is left for which `chosen_rank` gives None."""


def balanced(number: int, count: int) -> tuple[int, ...]:
    """`count` factors of `number`, as equal as its prime factors allow, ascending."""
    factors, rest, divisor, primes = [1] * count, number, 2, []
    while rest > 1:
        while rest % divisor == 0:
            primes.append(divisor)
            rest //= divisor
        divisor += 1
    for prime in sorted(primes, reverse=True):
        smallest = factors.index(min(factors))
        factors[smallest] *= prime
    return tuple(sorted(factors))
