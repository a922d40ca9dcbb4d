"""What an ONNX file says of itself, without its weights: inputs, outputs, metadata, operators, and other files that it
names.

The few fields that are needed are read directly, by their numbers in ONNX's published schema (onnx.proto; protocol
buffers never renumber fields): the package `onnx` would be one more that a worker needs, and reads all weights.
Damaged files are expected here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from harness.errors import ModelError
from harness.worker.protobuf import Message, Source

_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 8, 14, 25
_GRAPH_NODES, _GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 1, 5, 11, 12
_NODE_INPUTS, _NODE_OUTPUTS, _NODE_OPERATOR, _NODE_ATTRIBUTES, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_NUMBER, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 1, 3, 5, 6, 11
_FUNCTION_NAME, _FUNCTION_NODES, _FUNCTION_DOMAIN = 1, 7, 10
_TENSOR_SIZES, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_CONTENT, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 9, 13, 14
_KEY, _VALUE = 1, 2
_INFO_NAME, _INFO_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 1, 2
_DIMENSION, _DIMENSION_SIZE, _DIMENSION_NAME = 1, 1, 2

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
}
_TEXT, _INT8 = 8, 3
# Domains of the operators that ONNX Runtime brings itself.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft")
# The same integers in another shape or type.
_COPIES = ("Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Expand", "Tile")
# A table of as many rows as its first input.
_SAME_ROWS = ("Identity", "Cast", "DequantizeLinear")
# Products of uint8 with weights of int8.
_INTEGER_PRODUCTS = {
    "MatMulInteger",
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "QLinearMatMul",
    "QLinearConv",
    "QGemm",
    "QAttention",
}
# Two products of 255 and this fit into 16 bits.
_NEVER_CLIPS = 64
_FEW_BITS, _LEVEL = "MatMulNBits", "accuracy_level"
_CPUINFO = Path("/proc/cpuinfo")
_AGAIN = "Export it again, or copy it again if it came from elsewhere."


@dataclass(frozen=True)
class OnnxFile:
    """`inputs` and `outputs` are described as in `harness.model_description`: a dimension that the file leaves open has
    the name that it shares with others in `dynamic`, and the size 1 where it is the first, else None. `locations` are
    the files of its weights, `foreign` its operators that ONNX Runtime does not bring, `metadata` its texts by name.
    `accuracy_levels` are those that its products with weights of few bits (`MatMulNBits`) ask for, sorted; 0 where one
    asks for none.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    metadata: dict[str, str]
    locations: list[str]
    foreign: list[str]
    accuracy_levels: list[int]


def read_onnx(path: Path) -> OnnxFile:
    """What the file at `path` says of itself. Raises ModelError for one that is missing, empty, cut short or no ONNX
    model, and for one whose inputs cannot be described.
    """
    try:
        with path.open("rb") as file:
            source = Source(file)
            if not source.size:
                raise ModelError(f"{path} is empty.", _AGAIN)
            model = Message(source)
            graph = model.message(_MODEL_GRAPH)
            if graph is None or not model.has(_MODEL_OPSETS):
                raise ModelError(f"{path} is not an ONNX model: it has no graph.", _AGAIN)
            return _read(model, graph)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path} is no ONNX model, or damaged: its graph cannot be read ({error}).", _AGAIN) from error


def check_onnx(path: Path, file: OnnxFile) -> None:
    """Raises ModelError as `check_locations`, and for a file that needs operators of other libraries."""
    check_locations(path, file)
    if file.foreign:
        raise ModelError(
            f"{path} calls {', '.join(file.foreign)}, which ONNX Runtime does not have.",
            "Export the model without it: harness loads no libraries of operators.",
        )


def check_locations(path: Path, file: OnnxFile) -> None:
    """Raises ModelError for a file that names weights outside of its folder (a runtime would read any file of this
    machine), or that has them in several files.
    """
    for location in file.locations:
        if _lies_outside(path, location):
            raise ModelError(
                f"{path} names a file outside of its folder for its weights: {location}.",
                "Save it with its weights next to it: onnx.save(model, path, save_as_external_data=True).",
            )
    if len(file.locations) > 1:
        raise ModelError(
            f"The weights of {path} lie in {len(file.locations)} files.",
            "Save them in one: onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True).",
        )


def sums_may_clip(path: Path) -> bool:
    """Whether the model at `path` multiplies uint8 by int8 weights so large that sums of two products do not fit into
    16 bits, on an x86 processor that makes them so: one without VNNI. Reads these weights where they lie in the file;
    of others it is taken to be so.
    """
    try:
        flags = _CPUINFO.read_text()
    except OSError:
        return False
    if "avx2" not in flags or "vnni" in flags:
        return False
    import numpy as np

    with path.open("rb") as file:
        graph = Message(Source(file)).message(_MODEL_GRAPH)
        assert graph is not None, "asked of a model that was loaded"
        nodes = [node for node in graph.messages(_GRAPH_NODES) if node.text(_NODE_OPERATOR) in _INTEGER_PRODUCTS]
        names = {name for node in nodes for name in node.texts(_NODE_INPUTS)}
        for tensor in graph.messages(_GRAPH_TENSORS):
            matrix = tensor.number(_TENSOR_TYPE) == _INT8 and len(tensor.numbers(_TENSOR_SIZES)) > 1
            if matrix and tensor.text(_TENSOR_NAME) in names:
                levels = np.frombuffer(tensor.content(_TENSOR_CONTENT), np.int8).astype(np.int16)
                if not levels.size or int(abs(levels).max()) > _NEVER_CLIPS:
                    return True
    return False


def _lies_outside(path: Path, location: str) -> bool:
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if ".." in {*posix.parts, *windows.parts} or posix.is_absolute() or windows.anchor or "\0" in location:
        return True
    # A model and its weights may both be links into one folder, as in Hugging Face's cache.
    folders = {path.parent.resolve(), path.resolve().parent}
    return folders.isdisjoint((path.parent / location).resolve().parents)


def _read(model: Message, graph: Message) -> OnnxFile:
    functions = model.messages(_MODEL_FUNCTIONS)
    defined = {(function.text(_FUNCTION_DOMAIN), function.text(_FUNCTION_NAME)) for function in functions}
    nodes = [*_all_nodes(graph.messages(_GRAPH_NODES))]
    for function in functions:
        nodes += _all_nodes(function.messages(_FUNCTION_NODES))
    called = {(node.text(_NODE_DOMAIN), node.text(_NODE_OPERATOR)) for node in nodes} - defined
    tensors = [*graph.messages(_GRAPH_TENSORS), *_tensors_of(nodes)]
    locations = {
        entry.text(_VALUE)
        for tensor in tensors
        if tensor.number(_TENSOR_LOCATION) == 1
        for entry in tensor.messages(_TENSOR_EXTERNAL)
        if entry.text(_KEY) == "location"
    }
    constants = {tensor.text(_TENSOR_NAME) for tensor in graph.messages(_GRAPH_TENSORS)}
    infos = [info for info in graph.messages(_GRAPH_INPUTS) if info.text(_INFO_NAME) not in constants]
    limits = _Limits(graph)
    return OnnxFile(
        inputs=[_described(info) | limits.of(info.text(_INFO_NAME)) for info in infos],
        outputs=[_described(info) for info in graph.messages(_GRAPH_OUTPUTS)],
        metadata={entry.text(_KEY): entry.text(_VALUE) for entry in model.messages(_MODEL_METADATA)},
        locations=sorted(locations),
        foreign=sorted(f"{domain}:{name}" for domain, name in called if domain not in _DOMAINS),
        accuracy_levels=sorted({_accuracy_level(node) for node in nodes if node.text(_NODE_OPERATOR) == _FEW_BITS}),
    )


def _accuracy_level(node: Message) -> int:
    levels = [attribute for attribute in node.messages(_NODE_ATTRIBUTES) if attribute.text(_ATTRIBUTE_NAME) == _LEVEL]
    return levels[-1].number(_ATTRIBUTE_NUMBER) if levels else 0


def _all_nodes(nodes: Sequence[Message]) -> Iterator[Message]:
    """The nodes, and those of the graphs within them (`If`, `Loop`)."""
    for node in nodes:
        yield node
        for graph in _graphs_of(node):
            yield from _all_nodes(graph.messages(_GRAPH_NODES))


def _graphs_of(node: Message) -> Iterator[Message]:
    for attribute in node.messages(_NODE_ATTRIBUTES):
        yield from (*attribute.messages(_ATTRIBUTE_GRAPH), *attribute.messages(_ATTRIBUTE_GRAPHS))


def _tensors_of(nodes: Sequence[Message]) -> Iterator[Message]:
    """The tensors that nodes hold: values of constants, and weights of the graphs within them."""
    for node in nodes:
        for attribute in node.messages(_NODE_ATTRIBUTES):
            yield from attribute.messages(_ATTRIBUTE_TENSOR)
        for graph in _graphs_of(node):
            yield from graph.messages(_GRAPH_TENSORS)


def _described(info: Message) -> dict[str, Any]:
    """An input or output."""
    name, kind = info.text(_INFO_NAME), info.message(_INFO_TYPE)
    tensor = None if kind is None else kind.message(_TYPE_TENSOR)
    if tensor is None or tensor.number(_TENSOR_ELEMENT) == _TEXT:
        return {"name": name, "kind": "list" if tensor is None else "str", "dtype": "none", "sizes": []}
    number = tensor.number(_TENSOR_ELEMENT)
    shape = tensor.message(_TENSOR_SHAPE)
    sizes: list[int | None] = []
    dynamic: list[str | None] = []
    for place, dimension in enumerate(shape.messages(_DIMENSION) if shape is not None else ()):
        size = dimension.number(_DIMENSION_SIZE) if dimension.has(_DIMENSION_SIZE) else -1
        open_size = 1 if place == 0 else None
        sizes.append(size if size >= 0 else open_size)
        dynamic.append(None if size >= 0 else dimension.text(_DIMENSION_NAME) or f"{name}.{place}")
    described = {"name": name, "kind": "tensor", "dtype": _DTYPES.get(number, f"dtype {number}"), "sizes": sizes}
    return described | ({"dynamic": dynamic} if shape is not None else {})


class _Limits:
    """Below what integers must stay that are used as indices of the rows of a table."""

    def __init__(self, graph: Message) -> None:
        self._rows = {
            tensor.text(_TENSOR_NAME): sizes[0]
            for tensor in graph.messages(_GRAPH_TENSORS)
            if (sizes := tensor.numbers(_TENSOR_SIZES))
        }
        self._nodes = graph.messages(_GRAPH_NODES)

    def of(self, name: str) -> dict[str, int]:
        """The least number of rows of what an input, or a copy of it, is an index of, and the greatest."""
        copies, limits = {name}, list[int]()
        rows = dict(self._rows)
        for node in self._nodes:  # in the order of execution, as ONNX demands
            operator, inputs, outputs = node.text(_NODE_OPERATOR), node.texts(_NODE_INPUTS), node.texts(_NODE_OUTPUTS)
            if not inputs or not outputs:
                continue
            if operator in _COPIES and inputs[0] in copies:
                copies.add(outputs[0])
            elif operator in _SAME_ROWS and inputs[0] in rows:
                rows[outputs[0]] = rows[inputs[0]]
            elif operator == "Gather" and len(inputs) > 1 and inputs[1] in copies and not _axis(node):
                limits += [rows[inputs[0]]] if inputs[0] in rows else []
        return {"limit": min(limits), "longest": max(limits)} if limits else {}


def _axis(node: Message) -> int:
    axes = [entry for entry in node.messages(_NODE_ATTRIBUTES) if entry.text(_ATTRIBUTE_NAME) == "axis"]
    return axes[0].number(_ATTRIBUTE_NUMBER) if axes else 0
