"""Tiny OpenVINO models for the tests, written operator by operator; what numpy computes of the language model is that
of `onnx_on_disk`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx_on_disk import WIDTH, language_weights

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # tests report to nobody

import openvino  # noqa: E402
import openvino.opset13 as ops  # noqa: E402
from openvino.op import assign, read_value  # noqa: E402
from openvino.op.util import Variable, VariableInfo  # noqa: E402

FORMS = ("optimum", "picked", "tensors")
"""`optimum` has states, attention_mask and beam_idx, `picked` states and `logits_at`, `tensors` takes its cache and
gives it back.
"""


def write_model(
    path: Path,
    inputs: Sequence[tuple[str, Sequence[int], Any]],
    outputs: Callable[..., dict[str, Any]],
    sinks: Sequence[Any] = (),
    metadata: dict[str, str] | None = None,
) -> Path:
    """The graph that `outputs` builds, by name, of its inputs (name, sizes, dtype), at `path` and in the `.bin` next to
    it.
    """
    nodes = [_named(ops.parameter(list(sizes), dtype, name), name) for name, sizes, dtype in inputs]
    results = [ops.result(_named(node, name)) for name, node in outputs(*nodes).items()]
    model = openvino.Model(results, list(sinks), nodes, "model")
    for name, value in (metadata or {}).items():
        model.set_rt_info(value, [name])
    openvino.save_model(model, str(path), compress_to_fp16=False)
    return path


def write_relu(path: Path, sizes: Sequence[int] = (-1, 4), dtype: Any = np.float32) -> Path:
    """x to y, with a weight so that there is a file of weights."""
    return write_model(path, [("x", sizes, dtype)], lambda x: {"y": ops.add(ops.relu(x), _constant([1], dtype))})


def write_mlp(path: Path, weights: Path) -> Path:
    """The two layers whose weights are in the `.npz` of `models_on_disk`, with an open batch."""
    with np.load(weights) as saved:
        w = {name: ops.constant(saved[name]) for name in saved.files}
        width = saved["0.weight"].shape[1]

    def layers(x: Any) -> dict[str, Any]:
        hidden = ops.relu(ops.add(ops.matmul(x, w["0.weight"], False, True), w["0.bias"]))
        return {"y": ops.add(ops.matmul(hidden, w["2.weight"], False, True), w["2.bias"])}

    return write_model(path, [("x", [-1, width], np.float32)], layers)


def write_deep(path: Path, *, width: int = 512, rows: int = 64, layers: int = 4) -> Path:
    """Layers that take a millisecond or so."""
    rng = np.random.default_rng(0)

    def products(x: Any) -> dict[str, Any]:
        for _ in range(layers):
            x = ops.matmul(x, ops.constant(rng.normal(size=(width, width)).astype(np.float32)), False, False)
        return {"y": x}

    return write_model(path, [("x", [rows, width], np.float32)], products)


def write_language_model(path: Path, form: str = "optimum", metadata: dict[str, str] | None = None) -> Path:
    """One layer of attention with its cache, in one of `FORMS`."""
    w = {name: ops.constant(array) for name, array in language_weights().items()}
    sinks: list[Any] = []
    inputs: list[tuple[str, list[int], Any]] = [
        ("input_ids", [-1, -1], np.int64),
        ("position_ids", [-1, -1], np.int64),
    ]
    if form == "tensors":
        inputs += [(f"past_key_values.0.{kind}", [-1, 1, -1, WIDTH], np.float32) for kind in ("key", "value")]
    else:
        inputs += [("beam_idx", [-1], np.int32)]
        inputs += [("attention_mask", [-1, -1], np.int64) if form == "optimum" else ("logits_at", [-1], np.int64)]

    def graph(ids: Any, positions: Any, *others: Any) -> dict[str, Any]:
        places = ops.squeeze(positions, _constant(0))
        x = ops.add(
            ops.gather(w["tokens_table"], ids, _constant(0)), ops.gather(w["places_table"], positions, _constant(0))
        )
        queries, keys, values = (ops.matmul(x, w[f"w{kind}_table"], False, False) for kind in "qkv")
        caches = {}
        for kind, new, place in (("key", keys, 0), ("value", values, 1)):
            new = ops.unsqueeze(new, _constant(1))
            if form == "tensors":
                caches[kind] = ops.concat([others[place], new], 2)
                continue
            state = _state(f"past_key_values.0.{kind}present.0.{kind}")
            past = read_value(ops.constant(np.zeros((1, 1, 0, WIDTH), np.float32)), state)
            caches[kind] = ops.concat([ops.gather(past, others[0], _constant(0)), new], 2)
            sinks.append(assign(caches[kind], state))
        all_keys, all_values = (ops.squeeze(caches[kind], _constant(1)) for kind in ("key", "value"))
        total = ops.slice(ops.shape_of(all_keys), _constant([1]), _constant([2]), _constant([1]))
        hidden = ops.slice(
            ops.gather(w["hidden_table"], places, _constant(0)), _constant([0]), total, _constant([1]), _constant([1])
        )
        scores = ops.add(ops.matmul(queries, all_keys, False, True), hidden)
        if form == "optimum":  # a mask that is not all ones, or of another length, shows
            scores = ops.multiply(scores, ops.convert(others[1], np.float32))
        mixed = ops.matmul(ops.softmax(scores, -1), all_values, False, False)
        logits = ops.matmul(ops.add(x, mixed), w["head_table"], False, False)
        if form == "picked":
            logits = ops.gather(logits, others[1], _constant(1))
        present = {f"present.0.{kind}": cache for kind, cache in caches.items()} if form == "tensors" else {}
        return {"logits": logits, **present}

    return write_model(path, inputs, graph, sinks, metadata)


def _state(name: str) -> Any:
    info = VariableInfo()
    info.data_shape, info.data_type = openvino.PartialShape([-1, 1, -1, WIDTH]), openvino.Type.f32
    info.variable_id = name
    return Variable(info)


def _constant(value: Any, dtype: Any = np.int64) -> Any:
    return ops.constant(np.asarray(value, dtype))


def _named(node: Any, name: str) -> Any:
    node.output(0).get_tensor().set_names({name})
    return node
