"""What is in a `.pt2`: programs of fixed shapes, and the inputs that they are calibrated and certified on.

Any archive of torch.export.save has one program, `model`. A language model that can generate (`harness models build
NAME --target npu`) has two, and says so in its extra file `generation.json`:

* `model(tokens int64 [1, C]) -> logits float32 [1, C, vocabulary], keys and values of every block`, the prefill;
* `step(token int64 [1, 1], position int64 [1], mask float32 [1, C], keys [H, Q, C - 1] and values [H, C - 1, V] of
  every block) -> logits float32 [1, 1, vocabulary], keys and values of the token`. A place is used where the mask is 0.

`generation.json` has `vocabulary_size`, `context` (C), `masked` (what the mask adds to hide a place), and the windows
of real text to calibrate on and, other ones, to certify on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from harness.errors import ModelError
from harness.made_inputs import find_limits
from harness.worker.inputs import make_set
from harness.worker.pt2_inputs import inputs_of
from harness.worker.runtimes.pt2_guard import check_archive, no_code

GENERATION = "generation.json"
_MADE_UP, _HELD_OUT = 16, 4
_STEPS = 8

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Program:
    """A program, the inputs that its ranges are calibrated on, and others to certify it on. `text` says whether both
    come from real text; else they are random, and ranges may not fit what the model will meet.
    """

    phase: str
    exported: ExportedProgram
    calibration: tuple[Inputs, ...]
    held_out: tuple[Inputs, ...]
    text: bool


@dataclass(frozen=True)
class Archive:
    """The programs of a file by name, and what it says of generating."""

    programs: dict[str, ExportedProgram]
    generation: dict[str, Any] | None


def read_archive(path: Path) -> Archive:
    """Open a `.pt2` without running anything in it. Raises ModelError for one that torch or harness refuses."""
    check_archive(path)
    from torch.export.pt2_archive._package import load_pt2

    try:
        with no_code():
            contents = load_pt2(str(path))
        generation = contents.extra_files.get(GENERATION)
        return Archive(dict(contents.exported_programs), None if generation is None else json.loads(generation))
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"torch refuses {path}: {lines[0].rstrip('.') if lines else type(error).__name__}.",
            f"Export it again with torch {torch.__version__} (torch.export.save).",
        ) from error


def phases(archive: Archive) -> tuple[str, ...]:
    """What the programs of an archive are for: prefill and decode, or steady for a model that answers at once."""
    return ("steady",) if archive.generation is None else ("prefill", "decode")


def program(path: Path, archive: Archive, phase: str) -> Program:
    """The program for a phase. Raises ModelError for an archive that lacks it."""
    name = "step" if phase == "decode" else "model"
    if name not in archive.programs:
        raise ModelError(f"{path} has no program `{name}`.", "Export it with torch.export.save, or build it anew.")
    exported = archive.programs[name]
    if archive.generation is None:
        made = [_random(exported, seed) for seed in range(_MADE_UP + _HELD_OUT)]
        return Program(phase, exported, tuple(made[:_MADE_UP]), tuple(made[_MADE_UP:]), text=False)
    generation = archive.generation
    windows = {key: torch.tensor(generation[key], dtype=torch.int64) for key in ("calibration", "held_out")}
    inputs: dict[str, tuple[Inputs, ...]]
    if phase == "prefill":
        inputs = {key: tuple((window[None],) for window in rows) for key, rows in windows.items()}
    else:
        prefill = archive.programs["model"].module(check_guards=False)
        inputs = {key: tuple(_steps(prefill, rows, generation["masked"])) for key, rows in windows.items()}
    return Program(phase, exported, inputs["calibration"], inputs["held_out"], text=True)


def _steps(prefill: Any, windows: Tensor, masked: float) -> Iterator[Inputs]:
    """Tokens of each window with the caches that the prefill leaves before them, at places spread over the context.

    A window gives as many steps as `_STEPS`: one token shows little of the ranges that all of them need.
    """
    context = windows.size(1)
    for number, window in enumerate(windows):
        with torch.no_grad():
            caches_after: Sequence[Tensor] = prefill(window[None])[1:]
        for step in range(_STEPS):
            position = 1 + (number + step * len(windows)) * (context - 2) // max(1, _STEPS * len(windows) - 1)
            mask = torch.full((1, context), masked)
            mask[0, :position] = mask[0, -1] = 0.0  # the new token's own place is the last
            caches = [_before(position, tensor, 2 - index % 2) for index, tensor in enumerate(caches_after)]
            yield (window[position].view(1, 1), torch.tensor([position]), mask, *caches)


def _before(position: int, caches_after: Tensor, dim: int) -> Tensor:
    """A cache of all places but the last along `dim`, filled up to `position` and zero from there on. Contiguous: the
    order in which an example lies in memory becomes the program's own.
    """
    cache = caches_after.narrow(dim, 0, caches_after.size(dim) - 1).clone(memory_format=torch.contiguous_format)
    cache.narrow(dim, position, cache.size(dim) - position).zero_()
    return cache


def _random(exported: ExportedProgram, seed: int) -> Inputs:
    """Made inputs of the sizes that the program was exported with (`harness.worker.inputs`)."""
    inputs = inputs_of(exported)
    made = make_set(inputs, [meta["sizes"] for meta in inputs], find_limits(inputs, {}), 0, seed)
    values = {node.name: node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder"}
    # Channels last stays so: kernels of some processors take images in no other order.
    return tuple(
        tensor.contiguous(memory_format=torch.channels_last) if _channels_last(values[meta["name"]]) else tensor
        for tensor, meta in zip(made, inputs, strict=True)
    )


def _channels_last(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
