"""The OpenVINO file of a GPT computes what the GPT computes, and integers in it are those that were trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from harness.errors import ModelError, UsageError
from harness.models.export.cached_check import AGREEMENT, TOLERANCE
from harness.models.export.openvino import check_openvino, export_openvino, import_openvino
from harness.models.export.quantised_linear import integers
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT

CONTEXT, VOCABULARY = 8, 11
SIZES = {"vocabulary_size": VOCABULARY, "context": CONTEXT, "layers": 3, "heads": 2, "width": 32}
# A cut GPT: unequal blocks, one without attention, and the last without a feed-forward layer.
SHAPES = (BlockShape(2, 3, 5, 7, (0, 2, 5), (1, 3)), BlockShape(0, 0, 0, 6), BlockShape(1, 4, 6, 0))
TEXT = torch.randint(VOCABULARY, (4 * CONTEXT,), generator=torch.Generator().manual_seed(9))


def gpt(shapes: tuple[BlockShape, ...] | None, activation: str = "gelu") -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(**SIZES, shapes=shapes, activation=activation)).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong mask or place must show
    return model


def read(path: Path) -> Any:
    return import_openvino().Core().read_model(path)


def logits_of(path: Path, tokens: Tensor, prompt: int) -> Tensor:
    """Of a prompt at once and its continuation token by token, from the last token of the prompt on."""
    settings = {"EXECUTION_MODE_HINT": "ACCURACY"}
    request = import_openvino().Core().compile_model(path, "CPU", settings).create_infer_request()
    request.reset_state()
    rows, begin = [], 0
    for count in (prompt, *[1] * (len(tokens) - prompt)):
        inputs = {
            "input_ids": tokens[None, begin : begin + count],
            "position_ids": torch.arange(begin, begin + count)[None],
            "logits_at": torch.tensor([count - 1]),
            "beam_idx": torch.zeros(1, dtype=torch.int32),
        }
        rows.append(torch.from_numpy(request.infer({name: value.numpy() for name, value in inputs.items()})[0])[0])
        begin += count
    return torch.cat(rows)


@pytest.mark.parametrize(("shapes", "activation"), [(SHAPES, "gelu"), (None, "gelu"), (SHAPES, "relu")])
def test_the_file_computes_the_model_at_every_length_of_a_prompt(
    shapes: tuple[BlockShape, ...] | None, activation: str, tmp_path: Path
) -> None:
    model, path = gpt(shapes, activation), tmp_path / "m.xml"
    export_openvino(model, path, "fp32", TEXT)
    for prompt in range(1, CONTEXT + 1):
        expected = model(TEXT[None, :CONTEXT])[0, prompt - 1 :]
        torch.testing.assert_close(logits_of(path, TEXT[:CONTEXT], prompt), expected, atol=1e-4, rtol=1e-4)


def test_the_file_says_what_a_pte_says_and_has_its_weights_in_full(tmp_path: Path) -> None:
    model, path = gpt(None), tmp_path / "m.xml"
    export_openvino(model, path, "fp32", TEXT)
    facts = {name: str(value.value) for name, value in read(path).get_rt_info().items()}
    assert (facts["get_max_seq_len"], facts["get_vocab_size"]) == (str(CONTEXT), str(VOCABULARY))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    weights = sum(parameter.numel() for parameter in model.parameters())
    # openvino.save_model halves them if it is not told to; norms that are equal it stores once.
    assert (tmp_path / "m.bin").stat().st_size > 0.95 * 4 * weights


def test_attention_and_cache_are_one_operator(tmp_path: Path) -> None:
    """As in what optimum-intel exports: taken apart, a token costs more, and the cache is never 8 bits."""
    path = tmp_path / "m.xml"
    export_openvino(gpt(None), path, "fp32", TEXT)
    compiled = import_openvino().Core().compile_model(path, "CPU")
    kinds = [str(node.get_rt_info()["layerType"].value) for node in compiled.get_runtime_model().get_ops()]
    assert kinds.count("ScaledDotProductAttention") == SIZES["layers"]
    assert not {"Concat", "Softmax"} & set(kinds)


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "m.xml", gpt(SHAPES)
    export_openvino(gpt(SHAPES), path, "fp32", TEXT)
    with torch.no_grad():
        other.final_norm.weight.mul_(1.01)
    with pytest.raises(ModelError, match="computes something else"):
        check_openvino(other, path, "fp32", TEXT)


@pytest.mark.parametrize("precision", ["int8", "int4-channel", "int4-group32"])
def test_rounded_files_are_small_and_say_how_far_off_they_are(precision: str, tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    checked = export_openvino(gpt(None), path, precision, TEXT)
    assert 1e-3 < float(checked["logits_difference_spreads"]) <= TOLERANCE[precision]
    assert float(checked["same_tokens"]) >= AGREEMENT[precision]
    assert checked["checked_tokens"] == len(TEXT)
    types = [
        node.get_element_type().get_type_name() for node in read(path).get_ops() if node.get_type_name() == "Constant"
    ]
    # Two products of every block and two of the feed-forward layer, and the readout; two tables.
    products = 3 * 4 + 1
    assert types.count("i4") == (0 if precision == "int8" else products)
    assert types.count("i8") == 2 + (products if precision == "int8" else 0)


@pytest.mark.parametrize("precision", ["int8", "int4-channel", "int4-group32"])
def test_integers_stay_what_they_are(precision: str, tmp_path: Path) -> None:
    model, path = gpt(SHAPES), tmp_path / "m.xml"
    random = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            levels = torch.randint(-7, 8, parameter.shape, generator=random)
            parameter.copy_(levels * 2.0 ** -torch.randint(4, 7, (len(levels), 1), generator=random))
            assert torch.equal(
                parameter, integers(parameter, "int8").levels * integers(parameter, "int8").step[:, None]
            )
    checked = export_openvino(model, path, precision, TEXT)
    assert float(checked["logits_difference_spreads"]) < 1e-5


def test_another_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no precision"):
        export_openvino(gpt(None), tmp_path / "m.xml", "fp16", TEXT)
