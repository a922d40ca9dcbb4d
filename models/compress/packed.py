"""A compressed model's weights at rest: one file of safetensors, integers packed without gaps, and the record.

The tensors of layer L are `L.levels`, `L.steps` and so on (`stored`); a parameter or buffer that was not compressed has
its own name, and so has the parent's weight of a layer that is stored as an update of it, in a whole file. The metadata
say in which form each layer is stored and which parameters have another's values (`same`), and hold the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from harness.errors import ModelError
from harness.models.compress.apply import Compressed, with_weights
from harness.models.compress.method import Weights
from harness.models.compress.normal_float import BITS, FLOAT8, NormalFloat
from harness.models.compress.stored import (
    Dense,
    Factors,
    Hybrid,
    Integers,
    Looked,
    LowRankUpdate,
    NormalFloatUpdate,
    OutlierColumns,
    Product,
    RoutedUpdates,
    SharedRows,
    Stored,
    TensorTrain,
    unpack_bits,
)

FORMAT, VERSION = "harness-compressed", "1"
Parts = Mapping[str, Tensor]
BASED = (LowRankUpdate, RoutedUpdates)
"""The forms that need the parent's weight."""


def encoded(compressed: Compressed, parent: nn.Module, *, whole: bool = True) -> bytes:
    """The file of a compressed model; `parent` is the one that it was made of. Without `whole` it has only what
    differs from the parent.
    """
    tensors, forms, same = {}, {}, {}
    for name, stored in compressed.weights.layers.items():
        forms[name] = _form(stored)
        for part, tensor in stored.tensors().items():
            tensors[f"{name}.{part}"] = tensor.contiguous()
    layers = compressed.weights.layers
    stored_weights = {_weight_of(name) for name in layers if not (whole and isinstance(layers[name], BASED))}
    aliases: dict[int, str] = {}
    owners: dict[int, str] = {}
    for name, tensor in parent.state_dict().items():
        changed = compressed.weights.changed.get(name)
        if name in stored_weights or aliases.setdefault(tensor.data_ptr(), name) != name:
            continue
        if changed is not None and owners.setdefault(id(changed), name) != name:
            same[name] = owners[id(changed)]
        elif whole or changed is not None:
            tensors[name] = _small(tensor if changed is None else changed)
    texts = {"forms": forms, "same": same, "record": compressed.record.as_json()}
    metadata = {"format": FORMAT, "version": VERSION, **{key: json.dumps(value) for key, value in texts.items()}}
    data: bytes = save(tensors, metadata)
    return data


def decoded(path: Path, parent: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
    """The compressed model in a file, as a copy of `parent` with its weights, and the record.

    Raises ModelError for a file that is none, is damaged, or belongs to another architecture.
    """
    weights, tensors, record = _read(path, parent)
    try:
        model = with_weights(parent, weights)
        buffers = {name for name, _ in model.named_buffers()}
        model.load_state_dict({name: tensor for name, tensor in tensors.items() if name in buffers}, strict=False)
    except _MISFITS as error:
        raise _misfit(path, error) from error
    return model, record


def weights_in(path: Path, parent: nn.Module) -> tuple[Weights, dict[str, Any]]:
    """The weights in a file by which the compressed model differs from `parent`, and the record. Raises ModelError as
    `decoded`.
    """
    weights, _, record = _read(path, parent)
    return weights, record


_MISFITS = (KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError)


def _read(path: Path, parent: nn.Module) -> tuple[Weights, dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}).", "Compress the model again.") from error
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise ModelError(f"{path} is no file of compressed weights.", "Write one with `harness models compress`.")
    try:
        forms: dict[str, dict[str, Any]] = json.loads(metadata["forms"])
        weights, shared = Weights({}), dict[str, Tensor]()
        parameters = dict(parent.named_parameters())
        for name, form in forms.items():
            start = f"{name}."
            parts = {key[len(start) :]: tensor for key, tensor in tensors.items() if key.startswith(start)}
            if form["form"] in _BASED_READERS:
                base = tensors.get(_weight_of(name), parameters[_weight_of(name)]).detach().float().flatten(1)
                weights.layers[name] = _BASED_READERS[form["form"]](form, parts, base)
            else:
                weights.layers[name] = _READERS[form["form"]](form, parts, tensors, shared)
        compressed = {_weight_of(name) for name in forms}
        tensors |= {name: tensors[owner] for name, owner in json.loads(metadata.get("same", "{}")).items()}
        weights.changed = {
            name: tensor.to(parameters[name].dtype)
            for name, tensor in tensors.items()
            if name in parameters and name not in compressed
        }
        record: dict[str, Any] = json.loads(metadata["record"])
    except _MISFITS as error:
        raise _misfit(path, error) from error
    return weights, tensors, record


def _misfit(path: Path, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return ModelError(
        f"{path} does not fit this model ({reason}).", "Give the model that it was made of, or compress it again."
    )


def _weight_of(layer: str) -> str:
    """The full name of a layer's weight; the model itself, as a layer, has the name ""."""
    return f"{layer}.weight" if layer else "weight"


def _small(tensor: Tensor) -> Tensor:
    """In float16 where that holds every number."""
    half = tensor.half()
    return (half if tensor.dtype == torch.float32 and torch.equal(half.float(), tensor) else tensor).contiguous()


def _form(stored: Stored) -> dict[str, Any]:
    form: dict[str, Any] = {"form": type(stored).__name__}
    code = stored.integers if isinstance(stored, OutlierColumns) else stored
    form["shape"] = list(code.shape)  # type: ignore[attr-defined]
    if isinstance(code, Integers | Looked):
        form["bits"] = code.bits
    if isinstance(code, Integers):
        form["columns"] = code.levels.size(1)
    if isinstance(stored, Looked):
        form["columns"] = stored.indices.size(1)
    if isinstance(stored, LowRankUpdate | NormalFloatUpdate | RoutedUpdates):
        form["scale"] = stored.scale
    if isinstance(stored, RoutedUpdates):
        form["top"] = stored.top
    if isinstance(stored, Factors):
        form["factors"], form["shared"] = len(stored.factors), {str(k): v for k, v in stored.shared.items()}
    if isinstance(stored, Dense) and stored.owner is not None:
        form["owner"] = stored.owner
    return form


def _integers(form: dict[str, Any], parts: Parts, *_: object) -> Integers:
    bits, zeros, rows = int(form["bits"]), parts.get("zeros"), parts["steps"].size(0)
    levels = unpack_bits(parts["levels"], bits, rows * form["columns"]).view(rows, form["columns"])
    if zeros is None:
        levels = levels - (1 << (bits - 1))
    levels = levels.to(torch.int8 if zeros is None else torch.uint8)
    return Integers(levels, parts["steps"], bits, torch.Size(form["shape"]), zeros)


def _outliers(form: dict[str, Any], parts: Parts, *_: object) -> OutlierColumns:
    return OutlierColumns(_integers(form, parts), parts["columns"].long(), parts["values"].float())


def _looked(form: dict[str, Any], parts: Parts, *_: object) -> Looked:
    rows, bits = parts["tables"].size(0), int(form["bits"])
    indices = unpack_bits(parts["indices"], bits, rows * form["columns"]).view(rows, form["columns"]).to(torch.uint8)
    tables, values = parts["tables"].float(), parts["values"].float()
    return Looked(indices, tables, parts["places"].long(), values, bits, torch.Size(form["shape"]))


def _factors(form: dict[str, Any], parts: Parts, tensors: Parts, shared: dict[str, Tensor]) -> Factors:
    owners = {int(place): str(name) for place, name in form["shared"].items()}
    factors = []
    for place in range(form["factors"]):
        if place in owners:
            name = f"{owners[place]}.factor{place}"
            factors.append(shared.setdefault(name, tensors[name]))
        else:
            factors.append(parts[f"factor{place}"])
    return Factors(tuple(factors), torch.Size(form["shape"]), owners)


def _train(form: dict[str, Any], parts: Parts, *_: object) -> TensorTrain:
    cores = sorted((int(name.removeprefix("core")), core) for name, core in parts.items() if name.startswith("core"))
    return TensorTrain(tuple(core for _, core in cores), torch.Size(form["shape"]))


def _hybrid(form: dict[str, Any], parts: Parts, *_: object) -> Hybrid:
    rows, columns = form["shape"]
    train = _train({"shape": [rows - parts["dense"].size(0), columns]}, parts)
    return Hybrid(train, parts["dense"], parts["order"].long(), torch.Size(form["shape"]))


def _dense(form: dict[str, Any], parts: Parts, tensors: Parts, shared: dict[str, Tensor]) -> Dense:
    owner = form.get("owner")
    if owner is None:
        return Dense(parts["values"], torch.Size(form["shape"]))
    return Dense(tensors[f"{owner}.values"], torch.Size(form["shape"]), str(owner))


def _product(form: dict[str, Any], parts: Parts, *_: object) -> Product:
    index = parts["index"].long()
    tables = tuple(parts[f"table{place}"] for place in range(index.size(1)))
    return Product(tables, index, torch.Size(form["shape"]))


def _rows(form: dict[str, Any], parts: Parts, *_: object) -> SharedRows:
    return SharedRows(parts["rows"], parts["index"].long(), torch.Size(form["shape"]))


def _update(form: dict[str, Any], parts: Parts, base: Tensor) -> LowRankUpdate:
    reading, writing = parts["reading"].float(), parts["writing"].float()
    return LowRankUpdate(base, reading, writing, float(form["scale"]), torch.Size(form["shape"]))


def _routed(form: dict[str, Any], parts: Parts, base: Tensor) -> RoutedUpdates:
    matrices = parts["router"].float(), parts["reading"].float(), parts["writing"].float()
    return RoutedUpdates(base, *matrices, float(form["scale"]), form["top"], torch.Size(form["shape"]))


def _normal_float(form: dict[str, Any], parts: Parts, *_: object) -> NormalFloatUpdate:
    shape, scales = torch.Size(form["shape"]), parts["scales"]
    if "factors" in parts:
        scales = scales.view(FLOAT8)
    indices = unpack_bits(parts["indices"], BITS, shape.numel()).to(torch.uint8)
    base = NormalFloat(indices, scales, parts.get("factors"), parts.get("mean"), shape)
    reading, writing = parts["reading"].float(), parts["writing"].float()
    return NormalFloatUpdate(base, reading, writing, float(form["scale"]), shape)


_READERS: dict[str, Callable[[dict[str, Any], Parts, Parts, dict[str, Tensor]], Stored]] = {
    "Integers": _integers,
    "OutlierColumns": _outliers,
    "Looked": _looked,
    "Factors": _factors,
    "TensorTrain": _train,
    "Hybrid": _hybrid,
    "SharedRows": _rows,
    "Dense": _dense,
    "NormalFloatUpdate": _normal_float,
}
_BASED_READERS: dict[str, Callable[[dict[str, Any], Parts, Tensor], Stored]] = {
    "LowRankUpdate": _update,
    "RoutedUpdates": _routed,
    "Product": _product,
}
