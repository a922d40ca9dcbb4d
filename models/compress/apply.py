"""A method applied to a model: a copy of the model that computes with the compressed weights, and the record."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.errors import DataError, UsageError
from harness.models.compress.calibration import Calibration, Inputs, calibration_of, output_of
from harness.models.compress.layers import kind_of, shape_of
from harness.models.compress.method import AnyMethod, Method, Options, Weights, after_training, options_json
from harness.models.compress.modules import layer_for
from harness.models.compress.rounding import SMALLEST
from harness.models.compress.stored import (
    Dense,
    Factors,
    Hybrid,
    Integers,
    OutlierColumns,
    RoutedUpdates,
    Stored,
    TensorTrain,
)

INT8, INT4_CHANNEL, INT4_GROUP, FLOAT32 = "int8", "int4-channel", "int4-group32", "float32"
XNNPACK_GROUP = 32


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """A compressed layer: its `weights`, the bits that each takes at rest with steps, tables and zero points, and the
    relative error of the matrix, |W' - W| / |W| by Frobenius' norm. `runs_as` is the kernel that an exported program
    has for it: `int8`, `int4-channel`, `int4-group32`, `float32` for a product of smaller matrices or for rows that
    several heads share, or `float32, dense` where no kernel computes with what is stored.
    """

    layer: str
    kind: str
    shape: list[int]
    weights: int
    bits_per_weight: float
    relative_error: float
    runs_as: str


@dataclass(frozen=True, kw_only=True)
class CompressionRecord:
    """What was compressed, how, and on what.

    `bits_per_weight` is the mean over the compressed layers; `left` says of each layer that was left as it is why;
    `calibration` is None where the method needs none. `wall_s` is how long it took. `facts` are the method's own.
    """

    method: str
    family: str
    source: str
    options: dict[str, Any]
    layers: list[LayerRecord]
    left: dict[str, str]
    weights: int
    bits_per_weight: float
    calibration: dict[str, Any] | None
    facts: dict[str, Any]
    wall_s: float
    torch: str

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)


@dataclass(frozen=True)
class Compressed:
    """`module` is a copy of the model that computes with the compressed `weights`, in plain PyTorch."""

    module: nn.Module
    weights: Weights
    record: CompressionRecord


def compress_module(
    module: nn.Module, method: str, *, calibration: Inputs | Calibration | None = None, **options: Any
) -> Compressed:
    """Compress `module` by the method of that name (`harness models compress --list`); it stays as it is.

    `calibration` is a batch of inputs, or several (`calibration.Inputs`); `options` are the method's own. Raises
    UsageError for an unknown method or option, a method that needs inputs where there are none, and a model with no
    layer that it can treat; DataError for inputs that are not finite or that the model does not take.
    """
    chosen = after_training(method)
    inputs = calibration if isinstance(calibration, Calibration | None) else calibration_of(calibration)
    return apply_method(module, chosen, chosen.parse(options), inputs)


def apply_method(
    module: nn.Module, method: Method[Any], options: Options, calibration: Calibration | None
) -> Compressed:
    """As `compress_module`, with a method and its options at hand."""
    if method.calibrated and calibration is None:
        raise UsageError(f"{method.name} needs calibration inputs.", "Give some samples of what the model will see.")
    began_s, training = time.monotonic(), module.training
    module.eval()
    try:
        if calibration is not None:
            with torch.no_grad():
                check_output(output_of(module, calibration.batches[0]))
        weights = method.run(module, calibration if method.calibrated else None, options)
    finally:
        module.train(training)
    if not weights.layers:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(weights.left.items())[:3])
        raise UsageError(
            f"{method.name} can treat no layer of this model{f' ({reasons})' if reasons else ''}.",
            "Choose another method, or options that fit its layers.",
        )
    used = calibration if method.calibrated else None
    record = record_of(module, method, options, weights, used, time.monotonic() - began_s)
    return Compressed(with_weights(module, weights), weights, record)


def with_weights(module: nn.Module, weights: Weights) -> nn.Module:
    """A copy of `module` in which `weights` have taken their places."""
    copied, parameters = copy.deepcopy(module), dict[int, nn.Parameter]()
    with torch.no_grad():
        for name, tensor in weights.changed.items():
            copied.get_parameter(name).copy_(tensor)
        for name, stored in weights.layers.items():
            layer = copied.get_submodule(name)
            if isinstance(stored, Dense):  # layers that share their values have the same parameter
                layer.weight = parameters.setdefault(id(stored.values), nn.Parameter(stored.weight()))
                continue
            replacement = layer_for(layer, stored, parameters)
            if replacement is None:
                cast(Tensor, layer.weight).copy_(stored.weight())
            elif name:
                copied.set_submodule(name, replacement)
            else:  # the model is the layer itself
                copied = replacement
    return copied


def runs_as(kind: str, stored: Stored) -> str:
    """The kernel of an exported program for a layer of that kind, see `LayerRecord`."""
    if isinstance(stored, OutlierColumns):
        stored = stored.integers
    if isinstance(stored, Factors | TensorTrain | Hybrid | RoutedUpdates):
        return FLOAT32
    dense = f"{FLOAT32}, dense"
    if not isinstance(stored, Integers) or stored.zeros is not None:
        return dense
    if kind == "embedding":
        return INT8
    if kind != "linear":
        return dense
    if stored.steps.size(1) == 1:
        four = stored.bits <= 4 and stored.levels.size(1) % 2 == 0
        return INT4_CHANNEL if four else INT8
    return INT4_GROUP if stored.bits <= 4 and stored.group % XNNPACK_GROUP == 0 else dense


def check_output(output: Any) -> None:
    """Raises DataError for an output with a NaN."""
    tensors = [part for part in (output if isinstance(output, tuple | list) else [output]) if isinstance(part, Tensor)]
    if any(part.is_floating_point() and torch.isnan(part).any() for part in tensors):
        raise DataError("The model's output for the calibration inputs has a NaN.", "Correct the model or the inputs.")


def record_of(
    module: nn.Module,
    method: AnyMethod[Any],
    options: Options,
    weights: Weights,
    calibration: Calibration | None,
    wall_s: float,
) -> CompressionRecord:
    """The record of `weights` that a method made of `module` in `wall_s`."""
    rows, bits, count = [], 0, 0
    for name, stored in weights.layers.items():
        layer = module.get_submodule(name)
        kind, shape = kind_of(layer) or type(layer).__name__, shape_of(layer)
        weight = cast(Tensor, layer.weight).detach().float()
        size = stored.size_bits()
        approximated = stored.weight()
        if name in weights.scales:
            approximated = approximated / weights.scales[name]
        error = (approximated - weight).norm() / weight.norm().clamp(min=SMALLEST)
        rows.append(
            LayerRecord(
                layer=name,
                kind=kind,
                shape=list(shape),
                weights=weight.numel(),
                bits_per_weight=size / weight.numel(),
                relative_error=error.item(),
                runs_as=runs_as(kind, stored),
            )
        )
        bits, count = bits + size, count + weight.numel()
    return CompressionRecord(
        method=method.name,
        family=method.family,
        source=method.source,
        options=options_json(options),
        layers=rows,
        left=weights.left,
        weights=count,
        bits_per_weight=bits / count,
        calibration=None if calibration is None else calibration.description(),
        facts=weights.facts,
        wall_s=wall_s,
        torch=torch.__version__,
    )
