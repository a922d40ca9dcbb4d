"""Which inputs are made for a model where a user gives none: ranges of integers, and how many different inputs outputs
are compared over. The tensors themselves are made by `harness.worker.inputs`, the same on every target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.model_description import Input, is_tensor

LEAST_SETS = 8
MOST_SETS = 256
# Of 32 and 64 bits where nothing says what the integers mean.
UNKNOWN_RANGE = (0, 256)
_BITS = {"uint8": (0, 8), "int8": (1, 8), "uint16": (0, 16), "int16": (1, 16)}
_WIDE = ("int32", "int64", "uint32", "uint64")
_MOST_OUTPUT_BYTES = 256 << 20


def integer_ranges(inputs: Sequence[Input], limits: Sequence[int | None]) -> list[tuple[int, int] | None]:
    """For each input the least integer and the one above the greatest that it is given; None for other dtypes.

    `limits` are what indices must stay below, None where that is not known (`find_limits`). Booleans are 0 and 1,
    integers of 8 and 16 bits all that fit. Of 32 and 64 bits, an input of unknown meaning beside indices of the same
    sizes is taken for a mask, 0 and 1, any other is within `UNKNOWN_RANGE`.
    """
    indices = [meta["sizes"] for meta, limit in zip(inputs, limits, strict=True) if limit is not None]
    ranges: list[tuple[int, int] | None] = []
    for meta, limit in zip(inputs, limits, strict=True):
        dtype = meta["dtype"]
        if dtype == "bool":
            ranges.append((0, 2))
        elif dtype not in _BITS and dtype not in _WIDE:
            ranges.append(None)
        elif limit is not None:
            ranges.append((0, max(1, limit)))
        elif dtype in _BITS:
            signed, bits = _BITS[dtype]
            ranges.append((-signed << (bits - 1), 1 << (bits - signed)))
        else:
            ranges.append((0, 2) if meta["sizes"] in indices else UNKNOWN_RANGE)
    return ranges


def find_limits(inputs: Sequence[Input], metadata: dict[str, Any]) -> list[int | None]:
    """What the integers of each input must stay below: what the graph says (`limit`), else, of the first input of
    integers with two dimensions, the vocabulary in the metadata.
    """
    vocabulary = metadata.get("get_vocab_size")
    limits = [meta.get("limit") for meta in inputs]
    if isinstance(vocabulary, int) and vocabulary > 0 and not any(limit is not None for limit in limits):
        tokens = (i for i, meta in enumerate(inputs) if meta["dtype"] in _WIDE and len(meta["sizes"]) == 2)
        if (first := next(tokens, None)) is not None:
            limits[first] = vocabulary
    return limits


def count_sets(
    method: dict[str, Any], sizes: Sequence[Sequence[int]], limits: Sequence[int | None], most_elements: int | None
) -> int:
    """How many inputs the outputs of two models are compared over: eight, and so many more that every integer within
    the ranges occurs, up to `MOST_SETS`, to what `most_elements` integers are, and to 256 MiB of outputs.
    """
    wanted, most = LEAST_SETS, MOST_SETS
    for each, interval in zip(sizes, integer_ranges(method["inputs"], limits), strict=True):
        elements = math.prod(each)
        if interval is None or not elements:
            continue
        wanted = max(wanted, math.ceil((interval[1] - interval[0]) / elements))
        if most_elements is not None:
            most = min(most, most_elements // elements)
    output_bytes: int = sum(
        4 * math.prod(size or 1 for size in meta["sizes"]) for meta in method["outputs"] if is_tensor(meta)
    )
    return max(LEAST_SETS, min(wanted, most, _MOST_OUTPUT_BYTES // max(1, output_bytes)))


def covers(inputs: Sequence[Input], sizes: Sequence[Sequence[int]], limits: Sequence[int | None], sets: int) -> bool:
    """Whether in so many sets every integer occurs that an input takes. Where its columns are indices of tables of
    several sizes, no column has more than what the smallest takes.
    """
    return all(
        meta.get("longest") in (None, limit) for meta, limit in zip(inputs, limits, strict=True) if limit is not None
    ) and all(
        interval is None or not (elements := math.prod(each)) or sets * elements >= interval[1] - interval[0]
        for each, interval in zip(sizes, integer_ranges(inputs, limits), strict=True)
    )
