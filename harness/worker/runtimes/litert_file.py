"""What a LiteRT file (`.tflite`) says of itself, without its weights: signatures with their inputs and outputs,
operators, metadata.

The few fields that are needed are read directly, by their numbers in TensorFlow Lite's published schema (schema.fbs,
file identifier TFL3; flatbuffers never renumber fields): LiteRT itself cannot be asked before it has read all weights.
Damaged files are expected here: every index and every place of a buffer is checked before LiteRT opens the file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatbuffers import encode, number_types, table

from harness.errors import ModelError
from harness.model_description import FORWARD
from harness.worker.flatbuffer import checked, content, integers, number, string, tables

_CODES, _SUBGRAPHS, _BUFFERS, _METADATA, _SIGNATURES, _FILE_GROUPS, _FILE_BUFFERS = 1, 2, 4, 6, 7, 8, 9
_CODE_OLD, _CODE_CUSTOM, _CODE_NEW = 0, 1, 3
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SIZES, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_DYNAMIC = 0, 1, 2, 3, 7
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_NAME, _SIGNATURE_GRAPH = 0, 1, 2, 4
_MAP_NAME, _MAP_TENSOR = 0, 1
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    15: "uint32",
    16: "uint16",
    17: "int4",
    18: "bfloat16",
}
_TEXT = 5
_CUSTOM = 32
# Those that LiteRT's Python package brings itself.
_CUSTOM_OF_LITERT = ("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess")
_FLEX = "Flex"
_EMBEDDING_LOOKUP, _GATHER = 7, 36
# CAST, EXPAND_DIMS, RESHAPE, SLICE, SQUEEZE, TRANSPOSE: the same integers in another shape or type.
_COPIES = (53, 70, 22, 65, 43, 39)
_IDENTIFIER = b"TFL3"
_MOST_METADATA = 1 << 10
_AGAIN = "Export it again, or copy it again if it came from elsewhere."


@dataclass(frozen=True)
class Signature:
    """A way to call the file: `inputs` and `outputs` are described as in `harness.model_description`, in the order of
    the file; `graph` is the number of its subgraph, and the numbers of their tensors in that are at the same places.
    """

    name: str
    graph: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    input_tensors: list[int]
    output_tensors: list[int]


@dataclass(frozen=True)
class LiteRTFile:
    """`signatures` are those of the file, or its first subgraph as `forward` where it has none. `custom` are the names
    of operators beyond TensorFlow Lite's own, `metadata` its short texts by name, and `other_files` says whether
    weights lie elsewhere.
    """

    signatures: list[Signature]
    custom: list[str]
    metadata: dict[str, str]
    other_files: bool


def read_litert(path: Path) -> LiteRTFile:
    """What the file at `path` says of itself. Raises ModelError for one that is missing, empty, cut short, damaged or
    no LiteRT model.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise ModelError(f"{path} is empty.", _AGAIN)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data[4:8] != _IDENTIFIER:
                    raise ModelError(f"{path} is not a LiteRT model (no TFL3 identifier).", "Give a .tflite.")
                return _Reader(data).file()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    except (struct.error, IndexError, TypeError, OverflowError, ValueError) as error:
        # Only what is said here or of a length is for the user.
        why = f" ({error})" if type(error) is ValueError else ""
        raise ModelError(f"{path} is damaged or cut short: its tables cannot be read{why}.", _AGAIN) from error


def check_litert(path: Path, file: LiteRTFile) -> None:
    """Raises ModelError for a file with operators that LiteRT's Python package does not bring, or whose weights lie in
    other files.
    """
    flex = [name for name in file.custom if name.startswith(_FLEX)]
    if flex:
        raise ModelError(
            f"{path} calls TensorFlow's own operators ({', '.join(flex)}), which need the Flex delegate.",
            "Convert the model without SELECT_TF_OPS: harness loads no delegates from libraries.",
        )
    foreign = [name for name in file.custom if name not in _CUSTOM_OF_LITERT]
    if foreign:
        raise ModelError(
            f"{path} calls {', '.join(foreign)}, which LiteRT does not have.",
            "Convert the model without it: harness loads no libraries of operators.",
        )
    if file.other_files:
        raise ModelError(
            f"The weights of {path} lie in other files.", "Convert the model with its weights inside the .tflite."
        )


class _Reader:
    """Reads a file that is mapped to memory. Raises ValueError, IndexError or struct.error where it is damaged."""

    def __init__(self, data: Any) -> None:
        self._data = data
        model = self._model = table.Table(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))
        self._codes = [self._code(code) for code in tables(model, _CODES)]
        self._graphs = tables(model, _SUBGRAPHS)
        self._buffers = tables(model, _BUFFERS)
        if not self._graphs:
            raise ValueError("it has no subgraph")
        for buffer in self._buffers:
            self._check_buffer(buffer)
        self._tensors = [tables(graph, _GRAPH_TENSORS) for graph in self._graphs]
        for graph, tensors in zip(self._graphs, self._tensors, strict=True):
            self._check_graph(graph, tensors)

    def file(self) -> LiteRTFile:
        signatures = [self._signature(signature) for signature in tables(self._model, _SIGNATURES)]
        metadata = {string(entry, _METADATA_NAME): self._text(entry) for entry in tables(self._model, _METADATA)}
        return LiteRTFile(
            signatures=signatures or [self._whole()],
            custom=sorted({name for code, name in self._codes if code == _CUSTOM}),
            metadata=metadata,
            other_files=bool(tables(self._model, _FILE_GROUPS) or tables(self._model, _FILE_BUFFERS)),
        )

    def _text(self, entry: table.Table) -> str:
        """The beginning of what an entry of the metadata says."""
        buffer = self._buffers[int(number(entry, _METADATA_BUFFER, number_types.Uint32Flags))]
        return content(buffer, _BUFFER_DATA, _MOST_METADATA).decode(errors="replace")

    def _code(self, code: table.Table) -> tuple[int, str]:
        """Number and name of an operator; the name of a custom one alone."""
        old, new = number(code, _CODE_OLD, number_types.Int8Flags), number(code, _CODE_NEW, number_types.Int32Flags)
        return max(int(old), int(new)), string(code, _CODE_CUSTOM)

    def _check_buffer(self, buffer: table.Table) -> None:
        begin, length = (
            int(number(buffer, field, number_types.Uint64Flags)) for field in (_BUFFER_OFFSET, _BUFFER_SIZE)
        )
        if begin > 1 and begin + length > len(self._data):
            raise ValueError("weights lie behind its end")
        place = buffer.Offset(4 + 2 * _BUFFER_DATA)
        if place and buffer.Vector(place) + buffer.VectorLen(place) > len(self._data):
            raise ValueError("weights lie behind its end")

    def _check_graph(self, graph: table.Table, tensors: Sequence[table.Table]) -> None:
        for tensor in tensors:
            if int(number(tensor, _TENSOR_BUFFER, number_types.Uint32Flags)) >= max(1, len(self._buffers)):
                raise ValueError("a tensor names a buffer that is not there")
        used = [*integers(graph, _GRAPH_INPUTS), *integers(graph, _GRAPH_OUTPUTS)]
        for operator in tables(graph, _GRAPH_OPERATORS):
            if int(number(operator, _OPERATOR_CODE, number_types.Uint32Flags)) >= len(self._codes):
                raise ValueError("an operator has no name")
            used += (*integers(operator, _OPERATOR_INPUTS), *integers(operator, _OPERATOR_OUTPUTS))
        if any(not -1 <= place < len(tensors) for place in used):
            raise ValueError("an operator names a tensor that is not there")

    def _signature(self, signature: table.Table) -> Signature:
        graph = int(number(signature, _SIGNATURE_GRAPH, number_types.Uint32Flags))
        if graph >= len(self._graphs):
            raise ValueError("a signature names a subgraph that is not there")
        sides = [
            {
                string(entry, _MAP_NAME): int(number(entry, _MAP_TENSOR, number_types.Uint32Flags))
                for entry in tables(signature, side)
            }
            for side in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS)
        ]
        return self._described(string(signature, _SIGNATURE_NAME), graph, *sides)

    def _whole(self) -> Signature:
        graph, tensors = self._graphs[0], self._tensors[0]
        sides = [
            {string(tensors[place], _TENSOR_NAME) or f"{place}": place for place in integers(graph, side)}
            for side in (_GRAPH_INPUTS, _GRAPH_OUTPUTS)
        ]
        return self._described(FORWARD, 0, *sides)

    def _described(self, name: str, graph: int, inputs: dict[str, int], outputs: dict[str, int]) -> Signature:
        limits = dict(self._limits(graph, set(inputs.values())))
        return Signature(
            name=name,
            graph=graph,
            inputs=[self._tensor(graph, place, own) | limits.get(place, {}) for own, place in inputs.items()],
            outputs=[self._tensor(graph, place, own) for own, place in outputs.items()],
            input_tensors=list(inputs.values()),
            output_tensors=list(outputs.values()),
        )

    def _tensor(self, graph: int, place: int, name: str) -> dict[str, Any]:
        """An input or output. Sizes that may vary have no name in a file: the first one is the batch of all."""
        tensor = self._tensors[graph][place]
        kind = int(number(tensor, _TENSOR_TYPE, number_types.Int8Flags))
        if kind == _TEXT:
            return {"name": name, "kind": "str", "dtype": "none", "sizes": []}
        declared = integers(tensor, _TENSOR_SIZES)
        varying = integers(tensor, _TENSOR_DYNAMIC) or declared
        if len(varying) != len(declared):
            raise ValueError("a tensor has two shapes")
        sizes: list[int | None] = []
        dynamic: list[str | None] = []
        for dimension, size in enumerate(varying):
            open_size = 1 if dimension == 0 else None
            sizes.append(size if size >= 0 else open_size)
            dynamic.append(None if size >= 0 else "batch" if dimension == 0 else f"{name}.{dimension}")
        return {
            "name": name,
            "kind": "tensor",
            "dtype": _DTYPES.get(kind, f"type {kind}"),
            "sizes": sizes,
            "dynamic": dynamic,
        }

    def _limits(self, graph: int, inputs: set[int]) -> Iterator[tuple[int, dict[str, int]]]:
        """For each input that is an index of the rows of tables the least and the greatest number of rows."""
        operators = [
            (
                self._codes[int(number(operator, _OPERATOR_CODE, number_types.Uint32Flags))][0],
                integers(operator, _OPERATOR_INPUTS),
                integers(operator, _OPERATOR_OUTPUTS),
            )
            for operator in tables(self._graphs[graph], _GRAPH_OPERATORS)
        ]
        for place in inputs:
            copies, rows = {place}, list[int]()
            for code, given, made in operators:
                if code in _COPIES and given and given[0] in copies:
                    copies.update(made)
                elif code in (_EMBEDDING_LOOKUP, _GATHER) and len(given) > 1:
                    index, looked_up = given[:2] if code == _EMBEDDING_LOOKUP else given[1::-1]
                    sizes = integers(self._tensors[graph][looked_up], _TENSOR_SIZES)
                    rows += sizes[:1] if index in copies else []
            if rows := [checked(size) for size in rows if size > 0]:
                yield place, {"limit": min(rows), "longest": max(rows)}
