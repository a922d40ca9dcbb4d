"""Trained weights as they are kept: NAME.safetensors, and NAME.json that says how they were obtained.

A self-compressed layer is stored as what it is, small integers: `levels` int8 [out, in], and one `step` (2^e) and one
`bits` (b) float32 [out] a channel. Its weight is step * levels, exactly the value that was trained. Everything else is
float32. The record carries the file's sha256, so that a damaged or exchanged file is never used in silence.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import ModelError
from harness.manifest import sha256_file
from harness.models.architecture import GPTConfig
from harness.models.cache import replacing
from harness.models.checkpoint import read_safetensors
from harness.models.gpt import GPT
from harness.models.records import Record, read_record
from harness.models.selfcompression import SelfCompressed, block_linears


def packed(model: GPT, layers: dict[str, SelfCompressed]) -> dict[str, Tensor]:
    """The tensors to store: `model`'s own, with each of `layers` as levels, step and bits."""
    tensors = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    for name, linear in block_linears(model):
        if name in layers:
            step = torch.exp2(layers[name].exponent.detach())
            levels = (linear.weight.detach() / step[:, None]).round()
            if levels.abs().max() > 127:
                raise ModelError(f"Layer {name} needs more than 8 bits.", "Train it longer, or with a larger gamma.")
            tensors[f"{name}.levels"] = levels.to(torch.int8)
            tensors[f"{name}.step"], tensors[f"{name}.bits"] = step, layers[name].bits.detach()
    return {name: value.contiguous() for name, value in tensors.items()}


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A plain GPT's state dict from stored tensors."""
    state = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "levels":
            state[f"{layer}.weight"] = tensors[f"{layer}.step"][:, None] * value.float()
        elif kind not in ("step", "bits"):
            state[name] = value
    return state


def write(folder: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> Record:
    """Store weights under `record["name"]` in `folder`, with the record completed by the file's hash."""
    with replacing(folder) as scratch:
        file = scratch / f"{record['name']}.safetensors"
        save_file(tensors, file)
        complete = Record(weights_sha256=sha256_file(file), **record)
        text = json.dumps(asdict(complete), indent=1) + "\n"
        file.with_suffix(".json").write_text(text, encoding="utf-8")
    return complete


def read(folder: Path, name: str, config: GPTConfig) -> tuple[GPT, Record]:
    """The model `name` as it was trained, dense, in evaluation mode. Raises ModelError: no weights, or others."""
    record, path = read_record(folder, name), folder / f"{name}.safetensors"
    if record is None:
        raise ModelError(
            f"There are no weights of {name} in {folder}.", f"Train them with `harness models train {name}`."
        )
    tensors, _ = read_safetensors(path)
    if sha256_file(path) != record.weights_sha256:
        raise ModelError(f"{path} is not the file its record describes.", "Restore the file, or train again.")
    model = GPT(config)
    try:
        model.load_state_dict(unpacked(tensors))
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{path} holds another architecture than the recipe of {name}.", "Train again.") from error
    return model.eval(), record
