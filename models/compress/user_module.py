"""A user's own model and calibration data, from what a command line names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import DataError, HarnessError, UsageError

HINT = "Give MODULE:FUNCTION or FILE.py:FUNCTION; the function takes nothing and returns the model."


@dataclass(frozen=True)
class UserModel:
    """What a user's function returns: the model, the inputs with which torch.export traces it, if given, and its
    dynamic shapes, if given; and what constant methods of a program return, by name.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...] | None
    dynamic_shapes: Any
    constants: dict[str, Any] | None = None


def load_function(name: str) -> UserModel:
    """What the function `name` (MODULE:FUNCTION or FILE.py:FUNCTION) returns: a model; or it and its inputs; or it, its
    inputs and dynamic shapes; or these and a dictionary of constants. A module is looked for in the working folder too.
    Raises UsageError.
    """
    place, _, function_name = name.rpartition(":")
    if not place or not function_name:
        raise UsageError(f"{name!r} names no function.", HINT)
    try:
        function = getattr(_module(place), function_name)
    except HarnessError:
        raise
    except AttributeError as error:
        raise UsageError(f"{place} has no {function_name}.", HINT) from error
    except Exception as error:  # the user's own code, which raises of all kinds
        raise UsageError(f"{place} cannot be imported ({_reason(error)}).", HINT) from error
    try:
        made = function()
    except Exception as error:  # the user's own code, which raises of all kinds
        raise UsageError(f"{name} cannot be called ({_reason(error)}).", HINT) from error
    every = made if isinstance(made, tuple) else (made,)
    module, inputs, dynamic_shapes, constants = (*every, None, None, None)[:4]
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    fits = inputs is None or (isinstance(inputs, tuple | list) and all(isinstance(part, Tensor) for part in inputs))
    if not isinstance(module, nn.Module) or not fits or not isinstance(constants, dict | None):
        kind = type(made).__name__
        raise UsageError(f"{name} returns a {kind}, not a torch.nn.Module (and a tuple of input tensors).", HINT)
    return UserModel(module.eval(), None if inputs is None else tuple(inputs), dynamic_shapes, constants)


def read_samples(path: Path, model: UserModel) -> list[tuple[Tensor, ...]]:
    """Batches of the samples in a .npz or .npy file, whose first dimension counts them, each batch as large as that of
    the model's inputs, or of one sample where it has none. Arrays that have the names of forward's parameters are given
    to these, others in their order. Raises DataError.
    """
    hint = "Give a .npz or .npy file whose arrays have a first dimension of samples, as --inputs of a run takes."
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read ({_reason(error)}).", hint) from error
    except Exception as error:  # zipfile's errors, which numpy passes on
        raise DataError(f"{path} is damaged ({_reason(error)}).", hint) from error
    names = list(inspect.signature(model.module.forward).parameters)
    if all(name in names for name in arrays):
        arrays = {name: arrays[name] for name in names if name in arrays}
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise DataError(f"The arrays of {path} have no samples, or not as many in each.", hint)
    try:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays.values()]
    except TypeError as error:
        raise DataError(f"{path} has an array that is no tensor ({_reason(error)}).", hint) from error
    if model.inputs is not None:
        _check_shapes(path, tensors, model.inputs)
    size = 1 if model.inputs is None or not model.inputs[0].dim() else model.inputs[0].size(0)
    return list(zip(*(torch.split(tensor, size) for tensor in tensors), strict=True))


def _check_shapes(path: Path, tensors: list[Tensor], inputs: tuple[Tensor, ...]) -> None:
    if len(tensors) != len(inputs):
        raise DataError(
            f"{path} has {len(tensors)} arrays, the model takes {len(inputs)} inputs.", "Give an array for each input."
        )
    for place, (tensor, wanted) in enumerate(zip(tensors, inputs, strict=True), start=1):
        if tensor.shape[1:] != wanted.shape[1:] or tensor.dtype != wanted.dtype:
            raise DataError(
                f"Samples of input {place} in {path} are {_described(tensor)}, the model's are {_described(wanted)}.",
                "Give samples of the shapes and types that the model takes.",
            )


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape[1:])} {str(tensor.dtype).removeprefix('torch.')}"


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"There is no file {place}.", HINT)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses, for one, look their module up
    spec.loader.exec_module(module)
    return module


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return first[0].rstrip(".") if first else type(error).__name__
