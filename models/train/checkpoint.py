"""A training run's state in one safetensors file: weights and optimizer tensors, and JSON for the rest.

No pickle is ever read: a checkpoint from somewhere else can be wrong, but it cannot run code.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.atomic_files import replacing_files
from harness.errors import ModelError


@dataclass(frozen=True)
class Progress:
    """How far a run has come. `recipe` is the digest of what was asked, `method` the compression method's own state."""

    step: int
    recipe: str
    wall_s: float
    cpu_s: float
    method: dict[str, Any]


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's tensors and metadata. Raises ModelError where it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({error}).", "Restore the file, or train again."
        ) from error


def save(path: Path, model: nn.Module, optimizers: list[Optimizer], progress: Progress) -> None:
    """Write a checkpoint in place of the last one. Raises ModelError, and writes nothing, if a tensor is not finite."""
    owners = _owners(model)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items() if owners[name] == name}
    for number, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{parameter}.{key}": torch.as_tensor(value) for key, value in state.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelError(
            f"After step {progress.step} {broken[0]} is not finite; the checkpoint before it is kept.",
            "Lower the learning rate in the recipe and train again.",
        )
    with replacing_files(path.parent) as scratch:
        save_file(tensors, scratch / path.name, metadata={"progress": json.dumps(vars(progress))})


def load(path: Path, model: nn.Module, optimizers: list[Optimizer], recipe: str) -> Progress:
    """Bring `model` and `optimizers` back to where `save` left them. Raises ModelError where it is another recipe's."""
    tensors, metadata = read_safetensors(path)
    fresh = "Train with --fresh to start over."
    try:
        progress = Progress(**json.loads(metadata["progress"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a training checkpoint.", fresh) from error
    if progress.recipe != recipe:
        raise ModelError(f"{path} was written by another recipe.", fresh)
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, parameter, key = name.split(".")
            states[int(number)].setdefault(int(parameter), {})[key] = tensor
    weights = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    shared = {name: weights[owner] for name, owner in _owners(model).items() if owner in weights}
    model.load_state_dict(weights | shared)
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": _numbered(optimizer)})
    return progress


def _owners(model: nn.Module) -> dict[str, str]:
    """For each name in the state of `model` the first that has the same tensor: a file holds it once."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in model.state_dict(keep_vars=True).items()}


def _numbered(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The groups of `optimizer` as its state dict has them, parameters by number. One that is shared out among
    processes refuses to give that before it has been gathered.
    """
    numbers = itertools.count()
    return [{**group, "params": [next(numbers) for _ in group["params"]]} for group in optimizer.param_groups]
