"""What an OpenVINO model (`.xml`, its intermediate representation) says of itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.model_description import FORWARD
from harness.protocol import Describe
from harness.worker.runtimes.onnx_cache import CachedModel, find_cached_model

_HEADER_BYTES = 4096
_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<net\b([^>]*)>", re.DOTALL)
_VERSION = re.compile(rb'\bversion\s*=\s*"(\d+)"')
_VERSIONS = (10, 11)
_AGAIN = "Export it again, or copy it again if it came from elsewhere."
# OpenVINO's names of types, where torch has another.
_DTYPES = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "bf16": "bfloat16",
    "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2",
    "boolean": "bool",
    **{f"{sign}{bits}": f"{word}{bits}" for sign, word in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)},
}
# The same integers in another shape or type.
_COPIES = {"Convert", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Slice", "StridedSlice", "Broadcast", "Tile"}
# What an open first size is called: the file has no names for sizes, and in all but few models these are one.
_BATCH = "batch"


def check_header(path: Path) -> None:
    """Raises ModelError for a file that is not XML with the root `net` in a version that OpenVINO reads, or whose
    weights are not next to it. Anything else OpenVINO would try as a model of other libraries, whatever its name is.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    if not head.strip():
        raise ModelError(f"{path} is empty.", _AGAIN)
    root = _ROOT.match(head)
    version = _VERSION.search(root[1]) if root is not None else None
    if version is None:
        raise ModelError(f"{path} is no model of OpenVINO, or damaged: it has no <net version=...>.", _AGAIN)
    if int(version[1]) not in _VERSIONS:
        raise ModelError(
            f"{path} is of version {int(version[1])} of OpenVINO's format, of which 10 and 11 are known here.",
            "Save it with a current openvino (openvino.save_model).",
        )
    if not path.with_suffix(".bin").is_file():
        raise ModelError(
            f"The weights of {path} are in {path.with_suffix('.bin').name}, which is not there.",
            "Put that file next to the model.",
        )


def describe_model(path: Path, model: Any) -> tuple[Describe, CachedModel | None]:
    """What a model of OpenVINO (`openvino.Model`) that was read from `path` takes and gives, and what it is as a
    language model that keeps its cache; None where it is none that is recognised.

    Raises ModelError for an input whose dimensions are not known.
    """
    facts = {name: getattr(value, "value", value) for name, value in model.get_rt_info().items()}
    metadata = {name: _value(value) for name, value in facts.items() if _is_text(value)}
    inputs = [_described(path, port) | _limits(port) for port in model.inputs]
    outputs = [_described(path, port) for port in model.outputs]
    cached = find_cached_model(inputs, outputs, metadata, stateful=bool(model.get_variables()))
    if cached is not None:
        return replace(cached.describe(metadata, "xml"), external_data=True), cached
    if model.get_variables():
        raise ModelError(
            f"{path} keeps states between calls, and is no language model that harness knows.",
            "Give its inputs the names that optimum-intel does (input_ids, position_ids, attention_mask, beam_idx), "
            "or export it without states.",
        )
    forward = {
        "name": FORWARD,
        "planned_bytes": None,
        "delegates": [],
        "inputs": inputs,
        "outputs": outputs,
        "ranges": _ranges(model),
    }
    return Describe(format="xml", methods=[forward], metadata=metadata, delegates=[], external_data=True), None


def _described(path: Path, port: Any) -> dict[str, Any]:
    """An input or output."""
    name, shape = _name(port), port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise ModelError(
            f"{path} does not say how many dimensions its {name} has.", "Export it with the shapes of its inputs."
        )
    if (type_name := port.get_element_type().get_type_name()) == "string":
        return {"name": name, "kind": "str", "dtype": "none", "sizes": []}
    sizes: list[int | None] = []
    dynamic: list[str | None] = []
    for place, dimension in enumerate(shape):
        open_size = 1 if place == 0 else None
        sizes.append(dimension.get_length() if dimension.is_static else open_size)
        open_name = _BATCH if place == 0 else f"{name}.{place}"
        dynamic.append(None if dimension.is_static else open_name)
    dtype = _DTYPES.get(type_name, type_name)
    return {"name": name, "kind": "tensor", "dtype": dtype, "sizes": sizes, "dynamic": dynamic}


def _name(port: Any) -> str:
    """A name by which values are given to it, rather none that a converter has counted up; that of its node where it
    has none.
    """
    names = sorted(port.get_names(), key=lambda name: (name[:1].isdigit(), name))
    return str(names[0] if names else port.get_node().get_friendly_name())


def _ranges(model: Any) -> dict[str, list[int | None]]:
    """The least and the greatest open first size, where the file bounds it."""
    open_sizes = [port.get_partial_shape()[0] for port in model.inputs if len(port.get_partial_shape())]
    bounded = [size for size in open_sizes if size.is_dynamic and size.max_length > 0]
    if not bounded:
        return {}
    return {_BATCH: [max(size.min_length for size in bounded), min(size.max_length for size in bounded)]}


def _limits(port: Any) -> dict[str, int]:
    """The least number of rows of a table that an input, or a copy of it, is an index of, and the greatest."""
    rows, ports = list[int](), [port]
    while ports:
        for target in ports.pop().get_target_inputs():
            node = target.get_node()
            if node.get_type_name() in _COPIES and target.get_index() == 0:
                ports.append(node.output(0))
            elif node.get_type_name() == "Gather" and target.get_index() == 1 and _is_first_axis(node):
                table = node.input_value(0).get_partial_shape()
                rows += [table[0].get_length()] if table.rank.is_static and table[0].is_static else []
    return {"limit": min(rows), "longest": max(rows)} if rows else {}


def _is_first_axis(gather: Any) -> bool:
    axis = gather.input_value(2).get_node()
    return axis.get_type_name() == "Constant" and not any(axis.get_data().flatten())


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _value(value: str | int) -> int | str:
    """Whole numbers among the texts are those of ExecuTorch's constant methods."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
