"""Models cut into sessions of comparable length, each to be measured next to the same parent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def shards(models: Sequence[str], most: int) -> list[list[str]]:
    """`models` in their order, in as few parts as hold at most `most` each; no part is longer than another by more than
    one. None for no models.
    """
    if most < 1:
        raise ValueError(f"a session of {most} models")
    count = -(-len(models) // most)
    ends = [len(models) * number // count for number in range(count + 1)] if count else [0]
    return [list(models[low:high]) for low, high in itertools.pairwise(ends)]
