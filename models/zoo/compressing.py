"""Models of the zoo compressed after training: calibrated on the training text, written as their `.pte`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.durations import OnStep, unheard
from harness.errors import ModelError
from harness.manifest import Manifest, sha256_file
from harness.models.compress import packed
from harness.models.compress.apply import (
    FLOAT32,
    INT4_CHANNEL,
    INT4_GROUP,
    INT8,
    Compressed,
    apply_method,
    record_of,
    with_weights,
)
from harness.models.compress.calibration import Calibration, calibration_of
from harness.models.compress.method import Method, Options, find_method
from harness.models.compress.selfcompression import block_linears
from harness.models.compress.stored import Factors, Hybrid, OutlierColumns, RoutedUpdates, SharedRows, TensorTrain
from harness.models.export.deployment import distinct_heads
from harness.models.export.pte import export_pte
from harness.models.gpt.network import GPT, Block
from harness.models.recipe import CompressedRecipe
from harness.models.train import data
from harness.models.train.quality import windows
from harness.models.zoo.loading import load
from harness.models.zoo.records import PACKAGED, Record, read_record
from harness.models.zoo.weights_at_rest import bytes_at_rest

SAMPLES, SEED = 16, 0
"""Windows of the training text that methods are calibrated on, and the seed that draws them."""


def training_windows(record: Record) -> Calibration:
    """The windows on which models of the zoo are calibrated: int64 [1, context] each."""
    text = data.corpus(data.load_text(), record.tokenizer)
    inputs, _ = windows(text.training, record.context)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(SEED))
    return calibration_of([(inputs[place : place + 1],) for place in order[:SAMPLES].tolist()])


def compress_named(
    name: str, method: Method[Any], options: Options, on_step: OnStep = unheard
) -> tuple[Compressed, GPT, Record]:
    """A model of the zoo by a method, the model itself, and the record of its weights. Raises what `load` and
    `compress.apply.apply_method` raise.
    """
    on_step("reading the weights")
    model, record = load(name)
    calibration = training_windows(record) if method.calibrated else None
    on_step(f"compressing by {method.name}")
    return apply_method(model, method, options, calibration), model, record


def compressed_recipe(recipe: CompressedRecipe, on_step: OnStep = unheard) -> tuple[Compressed, GPT, Record]:
    """What `compress_named` gives of a recipe; where its method is learned in training, of the weights that come with
    harness. Raises what `compress_named` raises, and ModelError for weights that are missing, damaged, or of another
    parent.
    """
    method = find_method(recipe.method)
    options = method.parse(recipe.options)
    if isinstance(method, Method):
        return compress_named(recipe.parent, method, options, on_step)
    on_step("reading the weights")
    parent, record = load(recipe.parent)
    own, path = read_record(PACKAGED, recipe.name), PACKAGED / f"{recipe.name}.safetensors"
    if own is None:
        raise ModelError(
            f"There are no weights of {recipe.name}.", f"Train them with `harness models train {recipe.name}`."
        )
    if not path.exists() or sha256_file(path) != own.weights_sha256:
        raise ModelError(f"{path} is not the file its record describes.", "Restore the file, or train again.")
    if own.parent_weights_sha256 != record.weights_sha256:
        raise ModelError(f"{recipe.name} was trained from other weights of {recipe.parent}.", "Train it again.")
    weights, _ = packed.weights_in(path, parent)
    made = record_of(parent, method, options, weights, None, own.wall_s)
    return Compressed(with_weights(parent, weights), weights, made), parent, record


def multiplied_out(compressed: Compressed) -> list[str]:
    """The layers that programs of the zoo's network compute as plain matrices in float32: tensor trains, whose outputs
    attention splits among its heads, and those with outlier columns.
    """
    forms = (TensorTrain, Hybrid, OutlierColumns)
    return [name for name, stored in compressed.weights.layers.items() if isinstance(stored, forms)]


def precision_of(compressed: Compressed) -> str:
    """What the file of a compressed model of the zoo holds its weights in: `fp32` where a layer has no kernel of
    integers, or has been left as it is, since any other precision would round it as well.
    """
    kernels = {layer.runs_as for layer in compressed.record.layers if layer.kind == "linear"}
    gpt = cast(GPT, compressed.module)
    left = {name for name, _ in block_linears(gpt)} - compressed.weights.layers.keys()
    if left or multiplied_out(compressed) or any(kernel.startswith(FLOAT32) for kernel in kernels):
        return "fp32"
    return INT4_GROUP if INT4_GROUP in kernels else INT4_CHANNEL if INT4_CHANNEL in kernels else INT8


def export_compressed(compressed: Compressed, path: Path, on_step: OnStep = unheard) -> None:
    """Write a compressed GPT to `path`, with both methods of an ExecuTorch language model. Raises ModelError if the
    file computes something else.
    """
    gpt = copy.deepcopy(cast(GPT, compressed.module))
    for name in multiplied_out(compressed):
        gpt.set_submodule(name, dense(compressed.weights.layers[name].weight()))
    export_pte(gpt, path, precision_of(compressed), on_step)


def build_file(path: Path, name: str, compressed: Compressed, parent: Record, on_step: OnStep = unheard) -> Manifest:
    """Write the program of a compressed model of the zoo to `path`; returns its manifest. Raises what
    `export_compressed` raises.
    """
    export_compressed(compressed, path, on_step)
    tokenizer = {**parent.tokenizer.description}
    precision, kernels = precision_of(compressed), kernels_of(compressed)
    return compressed_manifest(path, name, parent.name, compressed, precision, {}, kernels=kernels, tokenizer=tokenizer)


def dense(weight: Tensor) -> nn.Linear:
    """A linear layer of `weight` [out, in] without a bias."""
    layer = nn.Linear(weight.size(1), weight.size(0), bias=False, device="meta")
    layer.weight = nn.Parameter(weight)
    return layer


def kernels_of(compressed: Compressed) -> dict[str, str]:
    """What computes each compressed layer in a program of the zoo's network, where it is not what the record says."""
    if precision_of(compressed) != "fp32":
        return {}
    factors = {
        name for name, stored in compressed.weights.layers.items() if isinstance(stored, Factors | RoutedUpdates)
    }
    linears = [layer.layer for layer in compressed.record.layers if layer.kind == "linear"]
    plain = {name: f"{FLOAT32}, dense" for name in linears if name not in factors}
    return plain | dict.fromkeys(not_repeated(compressed), FLOAT32)


def not_repeated(compressed: Compressed) -> list[str]:
    """The layers stored as rows that several outputs share, of which the program has each row once, too."""
    found = []
    for number, block in enumerate(cast(list[Block], cast(GPT, compressed.module).blocks)):
        name, attention = f"blocks.{number}.attention.qkv", block.attention
        stored = compressed.weights.layers.get(name)
        if attention is not None and isinstance(stored, SharedRows):
            shape = attention.shape
            kept = distinct_heads(attention.qkv, shape) * (shape.qk_dim + shape.v_dim)
            if len(stored.rows) == shape.heads * shape.qk_dim + kept:
                found.append(name)
    return found


def compressed_manifest(
    path: Path,
    name: str,
    parent: str,
    compressed: Compressed,
    precision: str,
    quality: dict[str, Any],
    *,
    kernels: Mapping[str, str] | None = None,
    tokenizer: dict[str, Any] | None = None,
) -> Manifest:
    """The manifest of the file at `path` that holds a compressed model; `kernels` are those that the program has for
    some layers in place of what the record says.
    """
    kernels = kernels or {}
    record = compressed.record
    repeated = sum(
        (len(stored.index) - len(stored.rows)) * stored.rows.size(1)
        for stored in compressed.weights.layers.values()
        if isinstance(stored, SharedRows)
    )
    rows = []
    for layer in record.layers:
        zero = compressed.weights.layers[layer.layer].weight().flatten(1) == 0
        shares = {"zero_weights": zero.float().mean().item(), "dead_rows": zero.all(dim=1).float().mean().item()}
        rows.append(asdict(layer) | shares | {"runs_as": kernels.get(layer.layer, layer.runs_as)})
    return Manifest(
        name=name,
        method=record.method,
        artifact_sha256=sha256_file(path),
        artifact_bytes=path.stat().st_size,
        precision=precision,
        parameters=sum(parameter.numel() for parameter in compressed.module.parameters()) - repeated,
        parent=parent,
        bits_per_weight=record.bits_per_weight,
        bits_per_weight_stored=record.bits_per_weight,
        weights_bytes=bytes_at_rest(compressed.module, list(compressed.weights.layers), _stored_bits(compressed)),
        family=record.family,
        layers=rows,
        quality=quality,
        compression={key: value for key, value in record.as_json().items() if key != "layers"},
        tokenizer=tokenizer or {},
    )


def _stored_bits(compressed: Compressed) -> int:
    return sum(stored.size_bits() for stored in compressed.weights.layers.values())
