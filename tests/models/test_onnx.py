"""The ONNX file of a GPT computes what the GPT computes, and integers in it are those that were trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from harness.errors import ModelError, UsageError
from harness.models.export import onnx as export_module
from harness.models.export.cached_check import AGREEMENT, TOLERANCE
from harness.models.export.onnx import check_onnx, export_onnx
from harness.models.export.onnx_integers import with_exact_integers
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT

CONTEXT, VOCABULARY = 8, 11
SIZES = {"vocabulary_size": VOCABULARY, "context": CONTEXT, "layers": 3, "heads": 2, "width": 32}
# A cut GPT: unequal blocks, one without attention, and the last without a feed-forward layer.
SHAPES = (BlockShape(2, 3, 5, 7, (0, 2, 5), (1, 3)), BlockShape(0, 0, 0, 6), BlockShape(1, 4, 6, 0))
TEXT = torch.randint(VOCABULARY, (4 * CONTEXT,), generator=torch.Generator().manual_seed(9))


def gpt(shapes: tuple[BlockShape, ...] | None) -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(**SIZES, shapes=shapes)).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong mask or place must show
    return model


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT, Path]:
    """A cut model and its file in float32."""
    model, path = gpt(SHAPES), tmp_path_factory.mktemp("onnx") / "cut.onnx"
    export_onnx(model, path, "fp32", TEXT)
    return model, path


def logits_of(path: Path, tokens: Tensor, prompt: int) -> Tensor:
    """Of a prompt at once and its continuation token by token, from the last token of the prompt on."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pasts = {each.name: each.shape for each in session.get_inputs() if each.name.startswith("past_key_values.")}
    cache = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in pasts.items()}
    rows, begin = [], 0
    for count in (prompt, *[1] * (len(tokens) - prompt)):
        given = {
            "input_ids": tokens[None, begin : begin + count].numpy(),
            "position_ids": np.arange(begin, begin + count)[None],
            "logits_at": np.array([count - 1]),
        }
        logits, *present = session.run(None, given | cache)
        cache = dict(zip(pasts, present, strict=True))
        rows.append(torch.from_numpy(logits)[0])
        begin += count
    return torch.cat(rows)


def test_the_file_computes_the_model_at_every_length_of_a_prompt(cut: tuple[GPT, Path]) -> None:
    model, path = cut
    for prompt in range(1, CONTEXT + 1):
        expected = model(TEXT[None, :CONTEXT])[0, prompt - 1 :]
        torch.testing.assert_close(logits_of(path, TEXT[:CONTEXT], prompt), expected, atol=1e-4, rtol=1e-4)


def test_the_file_says_what_a_pte_says_and_lies_alone(cut: tuple[GPT, Path]) -> None:
    _, path = cut
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert (metadata["get_max_seq_len"], metadata["get_vocab_size"]) == (str(CONTEXT), str(VOCABULARY))
    assert sorted(file.name for file in path.parent.iterdir()) == ["cut.onnx"]


def test_a_file_that_computes_something_else_is_refused(cut: tuple[GPT, Path]) -> None:
    other = gpt(SHAPES)
    with torch.no_grad():
        other.final_norm.weight.mul_(1.01)
    with pytest.raises(ModelError, match="computes something else"):
        check_onnx(other, cut[1], "fp32", TEXT)


@pytest.mark.parametrize("precision", ["int8", "int4-group32"])
def test_rounded_files_are_small_and_say_how_far_off_they_are(precision: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    checked = export_onnx(gpt(None), path, precision, TEXT)
    assert 1e-3 < float(checked["logits_difference_spreads"]) <= TOLERANCE[precision]
    assert float(checked["same_tokens"]) >= AGREEMENT[precision]
    assert checked["checked_tokens"] == len(TEXT)
    operators = [node.op_type for node in onnx.load(str(path)).graph.node]
    wanted = {"int8": "MatMulInteger", "int4-group32": "MatMulNBits"}[precision]
    # Two products of every block and two of the feed-forward layer; queries of the last block by themselves; readout.
    assert operators.count(wanted) == 3 * 4 + 1 + (precision == "int8")


def test_another_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no precision"):
        export_onnx(gpt(None), tmp_path / "m.onnx", "int4-channel", TEXT)


def product(levels: Tensor, step: Tensor) -> Any:
    """A graph that multiplies x [2, in] by the transpose of levels * step [out, in]."""
    weight = (levels * step[:, None]).T.contiguous().numpy()
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, size])
        for name, size in (("x", weight.shape[0]), ("y", weight.shape[1]))
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("bits", "least", "operator"),
    [(8, -8, "MatMulInteger"), (8, -100, "MatMulInteger"), (4, -8, "MatMulNBits"), (4, -100, "MatMulInteger")],
)
@pytest.mark.parametrize("columns", [64, 70, 33])
def test_integers_stay_what_they_are(bits: int, least: int, operator: str, columns: int) -> None:
    """With inputs that are levels of their rounding, products are exact: whatever is off comes from the weights."""
    random = torch.Generator().manual_seed(columns)
    levels = torch.randint(least, -least, (5, columns), generator=random)
    levels[:, 0], levels[:, 1] = least, 1
    step = 2.0 ** -torch.arange(3, 8)
    model = with_exact_integers(product(levels, step), bits)
    assert operator in {node.op_type for node in model.graph.node}
    assert not any(tensor.name == "w" for tensor in model.graph.initializer)
    x = torch.randint(-127, 128, (2, columns), generator=random).float()
    x[:, ::32], x[:, 1::32] = -127.0, 128.0 if operator == "MatMulInteger" else 127.0
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    if export_module._may_clip(model):
        pytest.skip("this processor sums products of uint8 and int8 in 16 bits, which clips: `export_onnx` warns of it")
    (y,) = session.run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), x @ (levels * step[:, None]).T, rtol=1e-5, atol=1e-3)


def test_weights_that_are_no_integers_are_left_alone(seeded: Callable[..., GPT]) -> None:
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    model = with_exact_integers(product(weight, torch.ones(5)), 8)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]


@pytest.mark.parametrize(
    ("flags", "clips"), [("avx2 fma", True), ("avx2 avx_vnni", False), ("avx2 avx512_vnni", False)]
)
def test_sums_clip_only_where_there_is_no_vnni(
    flags: str, clips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = torch.randint(-100, 100, (5, 64), generator=torch.Generator().manual_seed(1))
    model = with_exact_integers(product(levels, torch.full((5,), 0.5)), 8)
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(export_module, "CPUINFO", tmp_path / "cpuinfo")
    assert export_module._may_clip(model) == clips
    assert not export_module._may_clip(product(torch.randn(5, 64), torch.ones(5)))
