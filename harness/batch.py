"""How many samples one execute of a method is, and what sizes its inputs have: declared in the file, asked for with
`--batch`, or given by the user.

What cannot be known is not guessed. A program that was exported with fixed sizes says nothing of what its first
dimension is: a batch, time, or the samples of a sound. It is taken for a batch where it may vary, or where it is 1 in
what goes in and what comes out; or where the user says so. Most formats name the sizes that vary (`dynamic` is a list).
A `.pte` does not say which of a tensor's sizes vary: its first one is taken to where it is also that of the first
output, and found in every other input whose sizes vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError
from harness.model_description import Input, is_tensor

LARGEST = (1 << 31) - 1  # what its column holds
Sizes = tuple[tuple[int, ...], ...]
Dimension = int | Literal["none"] | None
"""Which dimension is the batch, as the user says it: `none`, there is none, so that each execute is one sample; None
where the user does not say.
"""


@dataclass(frozen=True)
class Batch:
    """`size` in samples an execute, None where it is not known. `sizes` of every input (`()` for what is no tensor)."""

    size: int | None
    sizes: Sizes


@dataclass(frozen=True)
class Asked:
    """What the user asked for: `batch` (0: nothing), its `dimension`, and the sizes of `given` inputs."""

    batch: int = 0
    dimension: Dimension = None
    given: Sizes | None = None


def find_batch(name: str, method: dict[str, Any], asked: Asked) -> Batch:
    """The batch of a method of model `name`. Raises UsageError for one that the
    program cannot take, or that cannot be known.
    """
    if asked.batch > LARGEST:
        raise UsageError(f"A batch of {asked.batch} is more than any memory holds.", "Give a smaller --batch.")
    inputs: list[Input] = method["inputs"]
    sizes = asked.given or tuple(tuple(meta["sizes"]) for meta in inputs)
    tensors = [index for index, meta in enumerate(inputs) if is_tensor(meta) and sizes[index]]
    if isinstance(asked.dimension, int):
        _check_dimension(name, sizes[tensors[0]] if tensors else (), asked.dimension)
    known = _known(method, sizes, tensors, asked)
    if asked.batch in (0, known):
        return Batch(known, sizes)
    if not tensors:
        raise UsageError(f"{name} takes no tensor, so it has no batch.", "Leave out --batch.")
    if asked.given is not None:
        raise UsageError(
            f"The inputs that were given to {name} have the sizes {_list(sizes)}, not a batch of {asked.batch}.",
            "Leave out --batch, or say with --batch-dim which of their dimensions is the batch.",
        )
    if asked.dimension == "none":
        raise UsageError(f"{name} cannot have a batch without a dimension for it.", "Leave out --batch.")
    if asked.dimension is not None:
        return Batch(asked.batch, _resized(name, method, tensors, asked.dimension, asked.batch))
    if _varies(inputs[tensors[0]], 0):
        return Batch(asked.batch, _resized(name, method, tensors, 0, asked.batch))
    # Nothing can change: the option can only say which of the fixed sizes is the batch.
    outputs = [meta["sizes"] for meta in method["outputs"] if is_tensor(meta)]
    for dimension, size in enumerate(sizes[tensors[0]]):
        if size == asked.batch and outputs and _at(outputs[0], dimension) == size:
            return Batch(asked.batch, sizes)
    raise UsageError(
        f"{name} was exported with the fixed sizes {_list(sizes)}, so its batch cannot become {asked.batch}.",
        "Leave out --batch, or export it with a dynamic batch (torch.export's dynamic_shapes). If one of these sizes "
        "is the batch, say which dimension with --batch-dim.",
    )


def why_unknown(name: str, sizes: Sizes) -> str:
    """Why the batch of a model is not known, and what to do."""
    first = next((each for each in sizes if each), None)
    if first is None:
        return f"{name} takes no tensor with a dimension for a batch; --batch-dim none counts each query as one sample"
    return (
        f"the first dimension of {name}'s input {list(first)} may be a batch or something else (time, for example): "
        f"say --batch {first[0]} if it is, or --batch-dim N or none"
    )


def _known(method: dict[str, Any], sizes: Sizes, tensors: Sequence[int], asked: Asked) -> int | None:
    """The batch of these sizes, without changing any; None where it cannot be known."""
    if asked.dimension == "none":
        return 1
    if not tensors:
        return None
    first = sizes[tensors[0]]
    if asked.dimension is not None:
        return first[asked.dimension]
    outputs = [meta["sizes"] for meta in method["outputs"] if is_tensor(meta)]
    if len(first) < 2 or not outputs or not outputs[0]:
        return None
    described = method["inputs"][tensors[0]]
    varies = _varies(described, 0) and (_is_named(described) or _in_all(method, tensors, outputs[0]))
    if varies or first[0] == outputs[0][0] == asked.batch:
        return first[0]
    return 1 if first[0] == outputs[0][0] == 1 else None


def _varies(described: Input, dimension: int) -> bool:
    """Whether a dimension of an input may have other sizes. A `.pte` says it of all of them together, so that the
    first is meant.
    """
    dynamic = described.get("dynamic")
    return bool(dynamic[dimension]) if isinstance(dynamic, list) else dynamic is not False


def _is_named(described: Input) -> bool:
    """Whether the file says of each size of an input what it varies with."""
    return isinstance(described.get("dynamic"), list)


def _in_all(method: dict[str, Any], tensors: Sequence[int], output: Sequence[int | None]) -> bool:
    """Whether the first size of the first input is that of the first output, and occurs in all inputs that may vary: a
    batch does, the steps of a time-first model whose batch varies do not.
    """
    inputs = [method["inputs"][index] for index in tensors]
    size = inputs[0]["sizes"][0]
    return bool(output[0] == size) and all(size in each["sizes"] for each in inputs if each.get("dynamic") is not False)


def _resized(name: str, method: dict[str, Any], tensors: Sequence[int], dimension: int, batch: int) -> Sizes:
    """The declared sizes with another batch in all dimensions that vary together with that of the first input."""
    inputs: list[Input] = method["inputs"]
    sizes = [list(meta["sizes"]) for meta in inputs]
    first = inputs[tensors[0]]
    if not _varies(first, dimension):
        raise UsageError(
            f"Dimension {dimension} of {name}'s input {first['sizes']} is fixed, so it cannot become {batch}.",
            "Leave out --batch, or export the program with that dimension dynamic (torch.export's dynamic_shapes).",
        )
    if _is_named(first):
        symbol = first["dynamic"][dimension]
        _check_range(name, symbol, method.get("ranges", {}), batch)
        for index in tensors:
            for place, other in enumerate(inputs[index].get("dynamic") or ()):
                if other == symbol:
                    sizes[index][place] = batch
                elif other is not None and symbol in other:
                    raise UsageError(
                        f"A size of {name}'s input {index} is {other}, where {symbol} is the batch.",
                        "Leave out --batch and give inputs of the size that you want with --inputs.",
                    )
        return tuple(map(tuple, sizes))
    declared = sizes[tensors[0]][dimension]
    if batch > declared:
        raise UsageError(
            f"{name} takes batches of at most {declared}, not {batch}.",
            "Give a smaller --batch, or export it with a larger bound.",
        )
    for index in tensors:
        if _at(sizes[index], dimension) != declared:
            continue
        if not _varies(inputs[index], dimension):
            raise UsageError(
                f"{name}'s input {index}, {inputs[index]['sizes']}, has fixed sizes, so that it is not known whether "
                f"it belongs to a batch of {batch}.",
                "Give inputs of the sizes that you want with --inputs.",
            )
        sizes[index][dimension] = batch
    return tuple(map(tuple, sizes))


def _check_range(name: str, symbol: str, ranges: dict[str, list[int | None]], batch: int) -> None:
    least, most = ranges.get(symbol, [None, None])
    if (least is not None and batch < least) or (most is not None and batch > most):
        raise UsageError(
            f"{name} takes batches from {least or 0} to {most if most is not None else 'any size'}, not {batch}.",
            "Give another --batch, or export it with a wider range.",
        )


def _check_dimension(name: str, sizes: Sequence[int], dimension: int) -> None:
    if not 0 <= dimension < len(sizes):
        raise UsageError(
            f"{name}'s first input {list(sizes)} has no dimension {dimension}.",
            f"Give --batch-dim 0 to {len(sizes) - 1}, or none." if sizes else "Give --batch-dim none.",
        )


def _at(sizes: Sequence[int | None], dimension: int) -> int | None:
    return sizes[dimension] if dimension < len(sizes) else None


def _list(sizes: Sizes) -> str:
    return ", ".join(str(list(each)) for each in sizes)
