"""The inputs of one execute: given in a file, or made from the dtypes, sizes and limits that the method declares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.job import Job
from harness.made_inputs import LEAST_SETS, find_limits, integer_ranges
from harness.model_description import Input, find_method, is_tensor
from harness.protocol import Describe
from harness.worker.given_inputs import read_inputs
from harness.worker.labelled import LabelledSamples, check_count, read_labels, read_samples

if TYPE_CHECKING:
    from torch import Tensor

# A permutation of more integers is not worth its memory: some of them are drawn instead.
_LARGEST_PERMUTATION = 1 << 20


def make_inputs(job: Job, description: Describe, given: str | None, number: int = 0) -> tuple[Any, ...]:
    """The inputs of the job's method, in its order: those in the file `given` (of labelled samples the first batch), or
    the made set `number` of the job.

    Raises UsageError when given inputs do not fit, or for an input that cannot be made.
    """
    inputs, sizes = _declared(job, description)
    if (samples := labelled_samples(job, description, given)) is not None:
        return next(samples.batches())
    if given is not None:
        return read_inputs(Path(given), inputs)
    limits = find_limits(inputs, description.metadata) if job.input_limits is None else job.input_limits
    return make_set(inputs, sizes, limits, job.seed, number)


def labelled_samples(job: Job, description: Describe, given: str | None) -> LabelledSamples | None:
    """The samples in the file `given`, where the job has labels for them; None where it has none. Raises UsageError
    where the file does not hold samples for the method.
    """
    if given is None or job.labels_sha256 is None:
        return None
    return read_samples(Path(given), *_declared(job, description))


def input_sets(
    job: Job, description: Describe, given: str | None, labels: str | None = None
) -> tuple[int, Iterator[tuple[Any, ...]]]:
    """How many times the quality pass executes, and the inputs of each: all batches of labelled samples, the given
    inputs once, or so many made sets as the job says. Raises UsageError as `make_inputs`, and where the file `labels`
    has not one for each sample.
    """
    if (samples := labelled_samples(job, description, given)) is not None:
        if labels is not None:
            check_count(read_labels(Path(labels)), Path(labels), samples.path, samples.count)
        return len(samples), samples.batches()
    total = 1 if given is not None else job.input_sets or LEAST_SETS
    return total, (make_inputs(job, description, given, number) for number in range(total))


def _declared(job: Job, description: Describe) -> tuple[list[Input], Sequence[Sequence[int]]]:
    """The inputs of the job's method, and the sizes that it is run with."""
    inputs: list[Input] = find_method(description, job.method)["inputs"]
    return inputs, [meta["sizes"] for meta in inputs] if job.input_sizes is None else job.input_sizes


def make_set(
    inputs: Sequence[Input], sizes: Sequence[Sequence[int]], limits: Sequence[int | None], seed: int, number: int
) -> tuple[Any, ...]:
    """Set `number` of made inputs, of these sizes.

    Floats are normal, of mean 0 and deviation 1. Integers go through all that the input may take
    (`harness.made_inputs`), in an order that depends on the seed alone: over several sets each occurs as often as any
    other, so that two models that differ in one row of an embedding give different outputs. Numbers that are no tensors
    are those that the program was exported with. Raises UsageError for an input that cannot be made.
    """
    import torch

    ranges = integer_ranges(inputs, limits)
    normal = torch.Generator().manual_seed(seed + number)
    made: list[Any] = []
    for index, (meta, interval) in enumerate(zip(inputs, ranges, strict=True)):
        if not is_tensor(meta):
            made.append(_value(index, meta))
            continue
        dtype = _dtype(index, meta["dtype"])
        shape = list(sizes[index])
        if interval is None:
            wide = torch.complex64 if dtype.is_complex else torch.float32
            made.append(torch.randn(shape, generator=normal, dtype=wide).to(dtype))
        else:
            order = seed * 1_000_003 + index * 10_007
            values = _integers(math.prod(shape), number, interval[1] - interval[0], order) + interval[0]
            made.append(values.to(dtype).reshape(shape))
    return tuple(made)


def _integers(count: int, number: int, size: int, seed: int) -> Tensor:
    """Entries number * count and on, `count` of them, of a sequence of the integers [0, size) that is one permutation
    after the other.
    """
    import torch

    def permutation(cycle: int) -> Tensor:
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed + cycle))

    if size > _LARGEST_PERMUTATION:
        return torch.randint(0, size, (count,), generator=torch.Generator().manual_seed(seed + number))
    if count > size:  # all of them in each set, and the rest at random: a large image would have thousands of cycles
        source = torch.Generator().manual_seed(seed + number)
        values = torch.cat((torch.arange(size), torch.randint(0, size, (count - size,), generator=source)))
        return values[torch.randperm(count, generator=source)]
    first, last = number * count // size, ((number + 1) * count - 1) // size if count else 0
    begin = number * count - first * size
    return torch.cat([permutation(cycle) for cycle in range(first, last + 1)])[begin : begin + count]


def _value(index: int, meta: Input) -> Any:
    """What a number or nothing was when the program was exported."""
    if meta.get("kind") == "none":
        return None
    if "value" not in meta:
        raise UsageError(
            f"Input {index} of the model is no tensor but {_article(meta.get('kind', 'a value'))}, and the program "
            "does not say which value it takes.",
            "Give the inputs with --inputs: an .npz with an array for each input, this one without dimensions.",
        )
    return meta["value"]


def _article(kind: str) -> str:
    return {"int": "an int", "float": "a float", "bool": "a bool", "str": "a text", "list": "a list"}.get(kind, kind)


def _dtype(index: int, name: str) -> Any:
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise UsageError(
            f"Input {index} of the model is {name}, which cannot be made here.",
            "Give inputs with --inputs, as .safetensors or the .pt2 that the program was exported to.",
        )
    return dtype
