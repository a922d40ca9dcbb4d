"""Models of the zoo compressed after training: calibrated on the training text, written as their `.pte`."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.durations import OnStep, unheard
from harness.manifest import Manifest, sha256_file
from harness.models.compress.apply import FLOAT32, INT4_CHANNEL, INT4_GROUP, INT8, Compressed, apply_method
from harness.models.compress.calibration import Calibration, calibration_of
from harness.models.compress.method import Method, Options
from harness.models.compress.stored import Hybrid, TensorTrain
from harness.models.export.pte import export_pte
from harness.models.gpt.network import GPT
from harness.models.train import data
from harness.models.train.quality import windows
from harness.models.zoo.loading import load
from harness.models.zoo.records import Record

SAMPLES, SEED = 16, 0
"""Windows of the training text that methods are calibrated on, and the seed that draws them."""


def training_windows(record: Record) -> Calibration:
    """The windows on which models of the zoo are calibrated: int64 [1, context] each."""
    text = data.corpus(data.load_text())
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


def precision_of(compressed: Compressed) -> str:
    """What the file of a compressed model of the zoo holds its weights in."""
    kernels = {layer.runs_as for layer in compressed.record.layers if layer.kind == "linear"}
    if any(kernel.startswith(FLOAT32) for kernel in kernels):
        return "fp32"
    return INT4_GROUP if INT4_GROUP in kernels else INT4_CHANNEL if INT4_CHANNEL in kernels else INT8


def export_compressed(compressed: Compressed, path: Path, on_step: OnStep = unheard) -> None:
    """Write a compressed GPT to `path`, with both methods of an ExecuTorch language model. Tensor trains are multiplied
    out: attention splits their outputs among heads. Raises ModelError if the file computes something else.
    """
    gpt = copy.deepcopy(cast(GPT, compressed.module))
    for name, stored in compressed.weights.layers.items():
        if isinstance(stored, TensorTrain | Hybrid):
            gpt.set_submodule(name, dense(stored.weight()))
    export_pte(gpt, path, precision_of(compressed), on_step)


def dense(weight: Tensor) -> nn.Linear:
    """A linear layer of `weight` [out, in] without a bias."""
    layer = nn.Linear(weight.size(1), weight.size(0), bias=False, device="meta")
    layer.weight = nn.Parameter(weight)
    return layer


def compressed_manifest(
    path: Path, name: str, parent: str, compressed: Compressed, precision: str, quality: dict[str, Any], **more: Any
) -> Manifest:
    """The manifest of the file at `path` that holds a compressed model, which `recipe` describes by its record."""
    record = compressed.record
    rows = []
    for layer in record.layers:
        zero = compressed.weights.layers[layer.layer].weight().flatten(1) == 0
        shares = {"zero_weights": zero.float().mean().item(), "dead_rows": zero.all(dim=1).float().mean().item()}
        rows.append(asdict(layer) | shares)
    return Manifest(
        name=name,
        method=record.method,
        artifact_sha256=sha256_file(path),
        artifact_bytes=path.stat().st_size,
        precision=precision,
        parameters=sum(parameter.numel() for parameter in compressed.module.parameters()),
        parent=parent,
        bits_per_weight=record.bits_per_weight,
        bits_per_weight_stored=record.bits_per_weight,
        layers=rows,
        quality=quality,
        recipe={"compression": record.as_json()},
        **more,
    )
