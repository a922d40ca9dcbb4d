"""Inputs that a user gives: an `.npz` (numpy.savez), a `.safetensors`, or a `.pt2`, whose own example inputs are meant.

Each has one entry an input, in the method's order; where the names are those of the method's inputs, their order in the
file does not matter. An input that is a number is an entry without dimensions; one that is None has no entry. numpy has
no bfloat16: float32 in an `.npz` is rounded to it where the model wants it.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.model_description import Input, is_tensor

_NOT_IN_NUMPY = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
_NUMBERS = {"int": int, "float": float, "bool": bool}
FORMATS = (".npz", ".safetensors", ".pt2")


def read_inputs(path: Path, inputs: Sequence[Input]) -> tuple[Any, ...]:
    """The inputs in the file at `path`, as a method takes them that declares `inputs`: tensors, numbers, None.

    Raises UsageError when the file cannot be read, or naming the input that does not fit.
    """
    return fit_inputs(path, read_entries(path, inputs), inputs)


def read_entries(path: Path, inputs: Sequence[Input]) -> list[Any]:
    """What the file at `path` has for each input, in the method's order, None where it has nothing for one that is
    None. Raises UsageError when it cannot be read, or has another number of entries.
    """
    entries = _read(path)
    expected = [meta for meta in inputs if meta.get("kind") != "none"]
    if len(entries) not in (len(expected), len(inputs)):
        raise UsageError(
            f"{path} holds {len(entries)} arrays, the model takes {len(expected)}.",
            f"Give one for each, in this order: {'; '.join(map(describe_input, expected)) or 'none'}.",
        )
    metas = inputs if len(entries) == len(inputs) else expected
    names = [str(meta.get("name")) for meta in metas]
    ordered = [entries[name] for name in names] if set(names) == set(entries) else list(entries.values())
    if len(entries) == len(inputs):
        return ordered
    given = iter(ordered)
    return [None if meta.get("kind") == "none" else next(given) for meta in inputs]


def fit_inputs(path: Path, entries: Sequence[Any], inputs: Sequence[Input]) -> tuple[Any, ...]:
    """The entries of the file at `path` as a method takes them that declares `inputs`. Raises UsageError naming the one
    that does not fit.
    """
    return tuple(
        _fit(path, number, entry, meta) for number, (entry, meta) in enumerate(zip(entries, inputs, strict=True))
    )


def describe_input(meta: Input) -> str:
    """Such as `x: float32 [2, 3]`, or `int`."""
    name = f"{meta['name']}: " if meta.get("name") else ""
    return name + (f"{meta['dtype']} {meta['sizes']}" if is_tensor(meta) else str(meta.get("kind", "a value")))


def _read(path: Path) -> Mapping[str, Any]:
    readers = {".npz": _npz, ".safetensors": _safetensors, ".pt2": _examples}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path} is no file of inputs.", f"Give one of: {', '.join(FORMATS)}.")
    return reader(path)


def _npz(path: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as .npz arrays ({error}).", "Write it with numpy.savez.") from error


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            # In the file's order, which `keys` does not keep.
            return {name: file.get_tensor(name) for name in file.offset_keys()}
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{path} cannot be read as .safetensors ({error}).", "Write it with safetensors.torch.save_file."
        ) from error


def _examples(path: Path) -> dict[str, Any]:
    from torch.utils import _pytree as tree

    from harness.worker.runtimes.torch import open_program, prepare

    try:
        prepare(path)
        program, _ = open_program(path)
    except HarnessError as error:
        raise UsageError(f"The example inputs of {path} cannot be read. {error.message}", error.hint) from error
    if program.example_inputs is None:
        raise UsageError(f"{path} was saved without example inputs.", "Give an .npz or a .safetensors.")
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    return dict(zip(names, tree.tree_leaves(program.example_inputs), strict=True))


def _fit(path: Path, number: int, entry: Any, meta: Input) -> Any:
    """`entry` as the model takes it. Raises UsageError."""
    import torch

    if meta.get("kind") == "none" and entry is None:
        return None
    given = (
        f"{str(entry.dtype).removeprefix('torch.')} {list(entry.shape)}"
        if isinstance(entry, torch.Tensor)
        else type(entry).__name__
    )
    refused = UsageError(
        f"Array {number} of {path} is {given}, the model takes {describe_input(meta)}.",
        "Convert it, or see what the model takes with `harness models inspect`. A file of many samples needs --labels.",
    )
    if not is_tensor(meta):
        kind = _NUMBERS.get(meta.get("kind", ""))
        if kind is None or (isinstance(entry, torch.Tensor) and entry.numel() != 1):
            raise refused
        value = entry.item() if isinstance(entry, torch.Tensor) else entry
        if not isinstance(value, (int, float, bool)) or (kind is not float and kind(value) != value):
            raise refused
        # Not to the last bit: an array of float32 holds 0.1 otherwise than the program.
        if meta.get("fixed") and not math.isclose(kind(value), meta["value"], rel_tol=1e-6):
            raise UsageError(
                f"Number {number} of {path} is {value}, but the program was exported with {meta['value']} and takes no "
                "other.",
                "Give that value, or export the program with the one that you want.",
            )
        return meta["value"] if meta.get("fixed") else kind(value)
    if not isinstance(entry, torch.Tensor):
        raise refused
    dtype = str(entry.dtype).removeprefix("torch.")
    if dtype == "float32" and meta["dtype"] in _NOT_IN_NUMPY and path.suffix.lower() == ".npz":
        entry, dtype = entry.to(getattr(torch, meta["dtype"])), meta["dtype"]
    if dtype != meta["dtype"] or entry.dim() != len(meta["sizes"]) or not _sizes_fit(list(entry.shape), meta):
        raise refused
    return entry


def _sizes_fit(sizes: list[int], meta: Input) -> bool:
    """Whether an input may have these sizes, as far as the file says."""
    dynamic, declared = meta.get("dynamic"), meta["sizes"]
    if dynamic is False:
        return bool(sizes == declared)
    if dynamic is True:  # a .pte, whose sizes are bounds
        return all(size <= most for size, most in zip(sizes, declared, strict=True))
    if dynamic is None:
        return True
    return all(bool(symbol) or size == own for size, own, symbol in zip(sizes, declared, dynamic, strict=True))
