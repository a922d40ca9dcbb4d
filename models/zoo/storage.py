"""Trained weights as they are kept: NAME.safetensors, and NAME.json that says how they were obtained.

A quantised layer is stored as its packed code (`packing`), everything else in float16. A model is evaluated with the
weights that its file gives back, so its recorded loss is the file's own. The record carries the file's sha256, so that
a damaged or exchanged file is never used in silence.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from harness.atomic_files import replacing_files
from harness.errors import ModelError
from harness.manifest import sha256_file
from harness.models.compress.codes import Code
from harness.models.compress.packing import pack, unpack
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.train.checkpoint import read_safetensors
from harness.models.zoo.records import Record, read_record

FORMAT, VERSION = "harness-weights", "1"
EMBEDDINGS = ("token_embedding", "position_embedding")
EMBEDDING_LEVELS = 127


@dataclass(frozen=True)
class Encoded:
    """What a file holds: tensors by name, and its metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def encoded(state: dict[str, Tensor], codes: dict[str, Code], entropy_coded: bool = False) -> Encoded:
    """A GPT's state dict with the weights of `codes` (by layer) in place of its own, ready to be written.

    Where there are codes the embeddings are stored in int8 too: beside compressed layers they would be half the file.
    Codes of embeddings that are given, as a file's own are, stay as they are. `entropy_coded` codes those layers that
    it makes smaller: what describes a row's distribution takes more than it saves where rows are short, or have many
    levels. Raises ModelError for a weight that float16 cannot hold.
    """
    if codes:
        missing = [name for name in EMBEDDINGS if name not in codes]
        codes = {**codes, **{name: embedding_code(state[f"{name}.weight"]) for name in missing}}
    tensors = {}
    for name, value in state.items():
        if name.removesuffix(".weight") not in codes:
            tensors[name] = value.half().contiguous()
            if not torch.isfinite(tensors[name]).all():
                raise ModelError(f"{name} has a weight beyond the range of float16.", "Lower the learning rate.")
    for layer, code in codes.items():
        kinds = [pack(code), pack(code, entropy_coded=True)] if entropy_coded else [pack(code)]
        smallest = min(kinds, key=lambda parts: len(save(parts)))
        tensors |= {f"{layer}.{part}": value for part, value in smallest.items()}
    shapes = {layer: list(code.levels.shape) for layer, code in codes.items()}
    return Encoded(tensors, {"format": FORMAT, "version": VERSION, "codes": json.dumps(shapes)})


def decoded(file: Encoded) -> tuple[dict[str, Tensor], dict[str, Code]]:
    """A plain GPT's state dict, float32, and the codes behind it by layer, embeddings included. Raises ModelError."""
    if file.metadata.get("format") != FORMAT:
        raise ModelError("This is not a file of trained weights.", "Give the folder that `harness models train` wrote.")
    if file.metadata.get("version") != VERSION:
        raise ModelError("These weights were written by a newer harness.", "Update harness.")
    try:
        shapes = {
            str(layer): (int(rows), int(columns))
            for layer, (rows, columns) in json.loads(file.metadata["codes"]).items()
        }
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError("These weights do not say what shape their codes have.", "Restore the file.") from error
    state, codes = {}, {}
    for layer, shape in shapes.items():
        parts = {name.rpartition(".")[2]: t for name, t in file.tensors.items() if name.rpartition(".")[0] == layer}
        codes[layer] = unpack(parts, shape)
        state[f"{layer}.weight"] = codes[layer].weight()
    for name, value in file.tensors.items():
        if name.rpartition(".")[0] not in codes:
            state[name] = value.float()
    return state, codes


def embedding_code(weight: Tensor) -> Code:
    """A table [rows, W] in 8 bits, each row scaled by its largest value."""
    largest = weight.detach().abs().amax(dim=1, keepdim=True).clamp(min=2.0**-14)
    # Rounded up in float16, so that no level exceeds 127.
    exponents = (torch.log2(largest / EMBEDDING_LEVELS) + 2**-8).half()
    levels = (weight.detach() / torch.exp2(exponents.float())).round().clamp(-EMBEDDING_LEVELS, EMBEDDING_LEVELS)
    return Code(levels.to(torch.int8), exponents, torch.full_like(exponents, 8.0))


def write(folder: Path, file: Encoded | bytes, record: dict[str, Any]) -> Record:
    """Store weights, of a compressed model their bytes (`compress.packed`), under `record["name"]` in `folder`, with
    the record completed by the file's hash and size.
    """
    with replacing_files(folder) as scratch:
        path = scratch / f"{record['name']}.safetensors"
        path.write_bytes(file if isinstance(file, bytes) else save(file.tensors, file.metadata))
        complete = Record(weights_sha256=sha256_file(path), weights_bytes=path.stat().st_size, **record)
        text = json.dumps(asdict(complete), indent=1) + "\n"
        path.with_suffix(".json").write_text(text, encoding="utf-8")
    return complete


def rewrite(folder: Path, file: Encoded, record: Record) -> Record:
    """Store weights that `record` describes, encoded anew, in `folder`, with the record of this file."""
    fields = {key: value for key, value in asdict(record).items() if key not in ("weights_sha256", "weights_bytes")}
    return write(folder, file, fields)


def read(folder: Path, name: str, config: GPTConfig) -> tuple[GPT, Record]:
    """The model `name` as it was trained, dense, in evaluation mode. Raises ModelError: no weights, or others."""
    state, _, record = read_weights(folder, name)
    return loaded(state, config, folder / f"{name}.safetensors"), record


def loaded(state: dict[str, Tensor], config: GPTConfig, path: Path) -> GPT:
    """A model of `config` with the weights of `path`, in evaluation mode. Raises ModelError if they do not fit it."""
    model = GPT(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{path} holds another architecture than the recipe of {path.stem}.", "Train again."
        ) from error
    return model.eval()


def read_weights(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Code], Record]:
    """The state dict of `name`, float32, the codes behind it by layer, and the record. Raises ModelError as `read`."""
    record, path = read_record(folder, name), folder / f"{name}.safetensors"
    if record is None:
        raise ModelError(
            f"There are no weights of {name} in {folder}.", f"Train them with `harness models train {name}`."
        )
    file = Encoded(*read_safetensors(path))
    if sha256_file(path) != record.weights_sha256:
        raise ModelError(f"{path} is not the file its record describes.", "Restore the file, or train again.")
    return *decoded(file), record
