"""Tiny LiteRT models for the tests, written operator by operator with the classes of its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

VOCABULARY, CONTEXT, WIDTH = 17, 12, 8
LONGEST = 4
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int64): schema.TensorType.INT64,
}


@dataclass
class Graph:
    """A subgraph as it is written: tensors by name, constants among them, and operators in the order of their run."""

    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    tensors: dict[str, tuple[Sequence[int], Any]] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    operators: list[tuple[str, Sequence[str], Sequence[str], Any, str]] = field(default_factory=list)

    def input(self, name: str, sizes: Sequence[int], dtype: Any = np.float32) -> str:
        """An input; a size of -1 may vary."""
        self.inputs.append(name)
        return self.tensor(name, sizes, dtype)

    def tensor(self, name: str, sizes: Sequence[int], dtype: Any = np.float32) -> str:
        """A tensor that an operator makes."""
        self.tensors[name] = (sizes, dtype)
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        """A weight."""
        self.constants[name] = array
        return self.tensor(name, array.shape, array.dtype)

    def call(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        sizes: Sequence[int],
        options: Any = None,
        dtype: Any = np.float32,
    ) -> str:
        """An operator of TensorFlow Lite, or one of any other name, with one output."""
        self.tensor(output, sizes, dtype)
        self.operators.append((kind, inputs, [output], options, kind))
        return output

    def output(self, *names: str) -> Graph:
        """Name the outputs."""
        self.outputs += names
        return self


def write_model(
    path: Path,
    *graphs: Graph,
    signatures: Mapping[str, Graph] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """The graphs as a file at `path`; equal constants of two graphs lie there once."""
    model = schema.ModelT()
    model.version, model.description = 3, "a test"
    model.buffers, model.operatorCodes, model.subgraphs = [schema.BufferT()], [], []
    codes: dict[str, int] = {}
    buffers: dict[bytes, int] = {}

    def buffer(content: bytes) -> int:
        if content not in buffers:
            made = schema.BufferT()
            made.data = np.frombuffer(content, np.uint8)
            buffers[content] = len(model.buffers)
            model.buffers.append(made)
        return buffers[content]

    def code(kind: str) -> int:
        if kind not in codes:
            made = schema.OperatorCodeT()
            number = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
            made.builtinCode, made.deprecatedBuiltinCode, made.version = number, min(number, 127), 1
            made.customCode = kind if number == schema.BuiltinOperator.CUSTOM else None
            codes[kind] = len(model.operatorCodes)
            model.operatorCodes.append(made)
        return codes[kind]

    for graph in graphs:
        subgraph = schema.SubGraphT()
        places = {name: place for place, name in enumerate(graph.tensors)}
        subgraph.tensors, subgraph.operators = [], []
        for name, (sizes, dtype) in graph.tensors.items():
            tensor = schema.TensorT()
            tensor.name, tensor.type, tensor.hasRank = name, _TYPES.get(np.dtype(dtype), dtype), True
            tensor.shape = [1 if size < 0 else size for size in sizes]
            tensor.shapeSignature = list(sizes) if any(size < 0 for size in sizes) else None
            tensor.buffer = buffer(graph.constants[name].tobytes()) if name in graph.constants else 0
            subgraph.tensors.append(tensor)
        for kind, inputs, outputs, options, _ in graph.operators:
            operator = schema.OperatorT()
            operator.opcodeIndex = code(kind)
            operator.inputs = [places[name] for name in inputs]
            operator.outputs = [places[name] for name in outputs]
            if options is not None:
                name = type(options).__name__.removesuffix("T")
                operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, name), options
            subgraph.operators.append(operator)
        subgraph.inputs = [places[name] for name in graph.inputs]
        subgraph.outputs = [places[name] for name in graph.outputs]
        model.subgraphs.append(subgraph)
    model.signatureDefs = [_signature(name, graph, graphs.index(graph)) for name, graph in (signatures or {}).items()]
    model.metadata = []
    for name, text in (metadata or {}).items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, buffer(text.encode())
        model.metadata.append(entry)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _signature(name: str, graph: Graph, number: int) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = name, number
    places = {own: place for place, own in enumerate(graph.tensors)}
    # The name of an output is its tensor's without `new_`: a cache goes out under the name that it comes in with.
    signature.inputs = [_entry(own, places[own]) for own in graph.inputs]
    signature.outputs = [_entry(own.removeprefix("new_"), places[own]) for own in graph.outputs]
    return signature


def _entry(name: str, place: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, place
    return entry


def dense(
    graph: Graph, x: str, weight: np.ndarray, output: str, sizes: Sequence[int], bias: np.ndarray | None = None
) -> str:
    """x [..., in] times the transpose of `weight` [out, in]."""
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    given = [x, graph.constant(f"{output}.weight", weight.astype(np.float32))]
    if bias is not None:
        given.append(graph.constant(f"{output}.bias", bias.astype(np.float32)))
    return graph.call("FULLY_CONNECTED", given, output, sizes, options)


def write_mlp(path: Path, weights: Path, **options: Any) -> Path:
    """The two layers whose weights are in the `.npz` of `models_on_disk`, with a batch that varies."""
    with np.load(weights) as saved:
        tensors = {name: saved[name] for name in saved.files}
    (hidden, width), graph = tensors["0.weight"].shape, Graph()
    x = graph.input("x", [-1, width])
    first = dense(graph, x, tensors["0.weight"], "hidden", [-1, hidden], tensors["0.bias"])
    active = graph.call("RELU", [first], "active", [-1, hidden])
    dense(graph, active, tensors["2.weight"], "y", [-1, width], tensors["2.bias"])
    return write_model(path, graph.output("y"), **options)


def write_deep(path: Path, *, width: int = 512, rows: int = 64, layers: int = 4) -> Path:
    """Layers that take a millisecond or so."""
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", [rows, width])
    for number in range(layers):
        weight = rng.normal(size=(width, width)) / width**0.5
        x = dense(graph, x, weight, f"h{number}", [rows, width])
    return write_model(path, graph.output(x))


def write_one(path: Path, kind: str, sizes: Sequence[int] = (-1, 4), dtype: Any = np.float32) -> Path:
    """One operator from `x` to `y`."""
    graph = Graph()
    graph.call(kind, [graph.input("x", sizes, dtype)], "y", sizes, dtype=dtype)
    return write_model(path, graph.output("y"))


def language_weights() -> dict[str, np.ndarray]:
    """One layer of attention; far from uniform, so that a wrong position or a wrong cache shows."""
    rng = np.random.default_rng(4)
    sizes = {"tokens": (VOCABULARY, WIDTH), "places": (CONTEXT, WIDTH), "head": (VOCABULARY, WIDTH)}
    sizes |= dict.fromkeys(("wq", "wk", "wv"), (WIDTH, WIDTH))
    tensors = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    return tensors | {"hidden": np.triu(np.full((CONTEXT, CONTEXT), -1e9, np.float32), 1)}


def language_logits(tokens: Sequence[int]) -> np.ndarray:
    """The logits [T, vocabulary] of a whole sequence at once, without a cache."""
    w, count = language_weights(), len(tokens)
    x = w["tokens"][list(tokens)] + w["places"][:count]
    scores = x @ w["wq"].T @ (x @ w["wk"].T).T + w["hidden"][:count, :count]
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed = shares / shares.sum(axis=1, keepdims=True) @ (x @ w["wv"].T)
    return np.asarray((x + mixed) @ w["head"].T)


def write_language_model(path: Path, form: str = "picked", metadata: Mapping[str, str] | None = None) -> Path:
    """A language model with `decode` and `prefill_4`: with the logits of the token in `logits_at` (`picked`), of all
    tokens (`all`), or none (`none`), as LiteRT's own exporter makes it.
    """
    decode, prefill = _step(1, "all"), _step(LONGEST, form)
    return write_model(
        path, decode, prefill, signatures={"decode": decode, f"prefill_{LONGEST}": prefill}, metadata=metadata
    )


def _step(count: int, form: str) -> Graph:
    w, graph, options = language_weights(), Graph(), schema
    keys, values = (graph.input(f"kv_cache_{kind}_0", [1, CONTEXT, WIDTH]) for kind in "kv")
    positions, tokens = graph.input("input_pos", [count], np.int32), graph.input("tokens", [1, count], np.int32)
    gather = options.GatherOptionsT()
    begin = options.StridedSliceOptionsT()
    begin.shrinkAxisMask = 0
    first = graph.call(
        "STRIDED_SLICE",
        [positions, *(graph.constant(f"at{place}", np.array([place], np.int32)) for place in (0, 1)), "at1"],
        "first",
        [1],
        begin,
        np.int32,
    )
    pack = options.ConcatenationOptionsT()
    zero = graph.constant("zero", np.array([0], np.int32))
    start = graph.call("CONCATENATION", [zero, first, zero], "start", [3], pack, np.int32)
    flat = graph.call(
        "RESHAPE", [tokens, graph.constant("flat", np.array([count], np.int32))], "ids", [count], dtype=np.int32
    )
    embedded = graph.call(
        "GATHER", [graph.constant("tokens_table", w["tokens"]), flat], "embedded", [count, WIDTH], gather
    )
    placed = graph.call(
        "GATHER", [graph.constant("places_table", w["places"]), positions], "placed", [count, WIDTH], gather
    )
    x = graph.call("ADD", [embedded, placed], "x", [count, WIDTH], options.AddOptionsT())
    queries, new_keys, new_values = (dense(graph, x, w[f"w{kind}"], kind, [count, WIDTH]) for kind in "qkv")
    shape = graph.constant("shape", np.array([1, count, WIDTH], np.int32))
    made = []
    for kind, new, cache in (("k", new_keys, keys), ("v", new_values, values)):
        part = graph.call("RESHAPE", [new, shape], f"{kind}_part", [1, count, WIDTH])
        made.append(graph.call("DYNAMIC_UPDATE_SLICE", [cache, part, start], f"new_{cache}", [1, CONTEXT, WIDTH]))
    turned = options.BatchMatMulOptionsT()
    turned.adjY = True
    asked = graph.call("RESHAPE", [queries, shape], "asked", [1, count, WIDTH])
    raw = graph.call("BATCH_MATMUL", [asked, made[0]], "raw", [1, count, CONTEXT], turned)
    hidden = graph.call("GATHER", [graph.constant("hidden", w["hidden"]), positions], "rows", [count, CONTEXT], gather)
    scores = graph.call("ADD", [raw, hidden], "scores", [1, count, CONTEXT], options.AddOptionsT())
    softmax = options.SoftmaxOptionsT()
    softmax.beta = 1.0
    shares = graph.call("SOFTMAX", [scores], "shares", [1, count, CONTEXT], softmax)
    mixed = graph.call("BATCH_MATMUL", [shares, made[1]], "mixed", [1, count, WIDTH], options.BatchMatMulOptionsT())
    total = graph.call("ADD", [mixed, x], "total", [1, count, WIDTH], options.AddOptionsT())
    if form == "none":
        return graph.output(*made)
    rows = count
    if form == "picked":
        wanted = graph.input("logits_at", [1], np.int32)
        picked = options.GatherOptionsT()
        picked.axis, rows = 1, 1
        total = graph.call("GATHER", [total, wanted], "picked", [1, 1, WIDTH], picked)
    return graph.output(*made, dense(graph, total, w["head"], "logits", [1, rows, VOCABULARY]))
