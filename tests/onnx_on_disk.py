"""Tiny ONNX models for the tests, written node by node, and what numpy computes of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, CONTEXT, WIDTH = 17, 12, 8
FORMS = ("hugging-face", "short", "picked")
"""`hugging-face` has position_ids and attention_mask, `short` ExecuTorch's input_pos and other names of its cache,
`picked` gives the logits of the places in `logits_at` alone.
"""
Info = tuple[str, int, Sequence[int | str]]


def write_model(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Info],
    outputs: Sequence[Info],
    weights: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    domains: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
    external: str | None = None,
) -> Path:
    """A graph at `path`, its weights in the file `external` next to it where that is named."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*info) for info in inputs],
        [helper.make_tensor_value_info(*info) for info in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, metadata or {})
    if external is not None:
        onnx.save_model(model, str(path), save_as_external_data=True, location=external, size_threshold=0)
    else:
        path.write_bytes(model.SerializeToString())
    return path


def write_mlp(path: Path, weights: Path, **options: Any) -> Path:
    """The two layers whose weights are in the `.npz` of `models_on_disk`, with a dynamic batch."""
    with np.load(weights) as saved:
        tensors = {name.replace(".", "_"): saved[name] for name in saved.files}
    nodes = [
        helper.make_node("Gemm", ["x", "0_weight", "0_bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "2_weight", "2_bias"], ["y"], transB=1),
    ]
    sizes = ["batch", tensors["0_weight"].shape[1]]
    infos = [[(name, TensorProto.FLOAT, sizes)] for name in ("x", "y")]
    return write_model(path, nodes, *infos, tensors, **options)


def write_deep(path: Path, *, width: int = 512, rows: int = 64, layers: int = 4) -> Path:
    """Layers that take a millisecond or so."""
    rng = np.random.default_rng(0)
    names = [f"h{number}" for number in range(layers)] + ["y"]
    names[0] = "x"
    nodes = [
        helper.make_node("MatMul", [begin, f"w{i}"], [end]) for i, (begin, end) in enumerate(itertools.pairwise(names))
    ]
    tensors = {f"w{i}": rng.normal(size=(width, width)).astype(np.float32) / width**0.5 for i in range(layers)}
    return write_model(
        path, nodes, [("x", TensorProto.FLOAT, [rows, width])], [("y", TensorProto.FLOAT, [rows, width])], tensors
    )


def language_weights() -> dict[str, np.ndarray]:
    """One layer of attention; far from uniform, so that a wrong position or a wrong cache shows."""
    rng = np.random.default_rng(4)
    sizes = {"tokens": (VOCABULARY, WIDTH), "places": (CONTEXT, WIDTH), "head": (WIDTH, VOCABULARY)}
    sizes |= dict.fromkeys(("wq", "wk", "wv"), (WIDTH, WIDTH))
    tensors = {f"{name}_table": rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    return tensors | {"hidden_table": np.triu(np.full((CONTEXT, CONTEXT), -1e9, np.float32), 1)}


def language_logits(tokens: Sequence[int]) -> np.ndarray:
    """The logits [T, vocabulary] of a whole sequence at once, without a cache."""
    w, count = language_weights(), len(tokens)
    x = w["tokens_table"][list(tokens)] + w["places_table"][:count]
    scores = x @ w["wq_table"] @ (x @ w["wk_table"]).T + w["hidden_table"][:count, :count]
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed = shares / shares.sum(axis=1, keepdims=True) @ (x @ w["wv_table"])
    return np.asarray((x + mixed) @ w["head_table"])


def write_language_model(path: Path, form: str = "hugging-face", metadata: dict[str, str] | None = None) -> Path:
    """A language model that takes its cache and gives it back, in one of `FORMS`."""
    short, node = form == "short", helper.make_node
    tokens = "tokens" if short else "input_ids"
    keys, values = ("past.0.k", "past.0.v") if short else ("past_key_values.0.key", "past_key_values.0.value")
    new_keys, new_values = ("present.0.k", "present.0.v") if short else ("present.0.key", "present.0.value")
    long, real = TensorProto.INT64, TensorProto.FLOAT
    tensors = language_weights() | {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "scalar": np.array(0),
        "step": np.array(1),
    }
    inputs: list[Info] = [(tokens, long, ["b", "n"])]
    inputs += [(name, real, ["b", 1, "past", WIDTH]) for name in (keys, values)]
    nodes = [
        node("Shape", [new_keys], ["sizes"]),
        node("Slice", ["sizes", "two", "three"], ["total"]),
        node("Shape", [tokens], ["given"]),
        node("Slice", ["given", "one", "two"], ["count"]),
    ]
    tensors["three"] = np.array([3])
    if short:
        inputs.append(("input_pos", long, [1]))
        nodes += [
            node("Squeeze", ["count"], ["length"]),
            node("Range", ["scalar", "length", "step"], ["along"]),
            node("Add", ["along", "input_pos"], ["places"]),
        ]
    else:
        inputs += [("position_ids", long, ["b", "n"])]
        nodes += [node("Squeeze", ["position_ids", "zero"], ["places"])]
    if form == "hugging-face":
        inputs.append(("attention_mask", long, ["b", "total"]))
    body = [
        node("Gather", ["tokens_table", tokens], ["embedded"]),
        node("Gather", ["places_table", "places"], ["placed"]),
        node("Add", ["embedded", "placed"], ["x"]),
        *(node("MatMul", ["x", f"w{name}_table"], [name]) for name in "qkv"),
        *(node("Unsqueeze", [name, "one"], [f"{name}_new"]) for name in "kv"),
        node("Concat", [keys, "k_new"], [new_keys], axis=2),
        node("Concat", [values, "v_new"], [new_values], axis=2),
    ]
    after = [
        node("Gather", ["hidden_table", "places"], ["rows"]),
        node("Slice", ["rows", "zero", "total", "one"], ["hidden"]),
        node("Squeeze", [new_keys, "one"], ["all_keys"]),
        node("Squeeze", [new_values, "one"], ["all_values"]),
        node("Transpose", ["all_keys"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["q", "turned"], ["raw"]),
        node("Add", ["raw", "hidden"], ["scores"]),
    ]
    if form == "hugging-face":  # a mask that is not all ones, or of another length, shows
        after += [
            node("Cast", ["attention_mask"], ["ones"], to=real),
            node("Mul", ["scores", "ones"], ["masked"]),
        ]
    after += [
        node("Softmax", ["masked" if form == "hugging-face" else "scores"], ["shares"]),
        node("MatMul", ["shares", "all_values"], ["mixed"]),
        node("Add", ["x", "mixed"], ["sum"]),
        node("MatMul", ["sum", "head_table"], ["every" if form == "picked" else "logits"]),
    ]
    wanted = "n"
    if form == "picked":
        inputs.append(("logits_at", long, ["m"]))
        after.append(node("Gather", ["every", "logits_at"], ["logits"], axis=1))
        wanted = "m"
    outputs: list[Info] = [("logits", real, ["b", wanted, VOCABULARY])]
    outputs += [(name, real, ["b", 1, "all", WIDTH]) for name in (new_keys, new_values)]
    return write_model(path, [*body, *nodes, *after], inputs, outputs, tensors, metadata=metadata)
