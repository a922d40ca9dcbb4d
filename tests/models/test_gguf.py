"""The GGUF file of a GPT computes what the GPT computes, and a GPT that llama.cpp's architecture cannot hold is refused
by the rule that it breaks.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import ModelError, UsageError
from harness.models.export.gguf import AGREEMENT, TOLERANCE, _blocks, check_gguf, export_gguf
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT

CONTEXT, VOCABULARY, HEADS, WIDTH = 16, 11, 2, 64
TEXT = torch.randint(VOCABULARY, (4 * CONTEXT,), generator=torch.Generator().manual_seed(9))
UNCUT = BlockShape(HEADS, WIDTH // HEADS, WIDTH // HEADS, 4 * WIDTH)


def gpt(*shapes: BlockShape, activation: str = "gelu", width: int = WIDTH) -> GPT:
    torch.manual_seed(3)
    config = GPTConfig(
        vocabulary_size=VOCABULARY,
        context=CONTEXT,
        layers=len(shapes) or 2,
        heads=HEADS,
        width=width,
        activation=activation,
        shapes=shapes or None,
    )
    model = GPT(config).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong mask or place must show
    return model


@pytest.fixture
def llama_cpp() -> None:
    for name in ("gguf", "llama_cpp"):
        pytest.importorskip(name, reason="the extra `gguf` is not installed: llama.cpp takes minutes to compile")


@pytest.mark.usefixtures("llama_cpp")
@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_file_computes_its_model_as_closely_as_its_precision(precision: str, tmp_path: Path) -> None:
    import gguf

    rows = tuple(range(0, WIDTH, 2))  # half of the channels are written
    model = gpt(UNCUT, BlockShape(HEADS, WIDTH // HEADS, WIDTH // HEADS, 4 * WIDTH, rows, rows))
    checked = export_gguf(model, tmp_path / "m.gguf", precision, TEXT)
    assert checked["checked_tokens"] == len(TEXT)
    assert checked["logits_difference_spreads"] <= TOLERANCE[precision]
    assert precision == "fp32" or checked["logits_difference_spreads"] > TOLERANCE["fp32"]
    assert checked["same_tokens"] >= AGREEMENT[precision]
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    wanted = {"fp32": ("F32", "F32"), "int8": ("Q8_0", "Q8_0"), "int4-group32": ("Q4_0", "Q8_0")}[precision]
    assert (types["blk.1.ffn_down.weight"], types["token_embd.weight"]) == wanted
    assert {types["position_embd.weight"], types["output_norm.weight"], types["blk.0.attn_qkv.bias"]} == {"F32"}
    assert "output.weight" not in types


@pytest.mark.usefixtures("llama_cpp")
def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    export_gguf(gpt(), tmp_path / "m.gguf", "fp32", TEXT)
    other = gpt()
    with torch.no_grad():
        other.final_norm.weight.mul_(1.02)
    with pytest.raises(ModelError, match="computes something else"):
        check_gguf(other, tmp_path / "m.gguf", "fp32", TEXT)
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"llama\.cpp refuses damaged\.gguf"):
        check_gguf(other, tmp_path / "damaged.gguf", "fp32", TEXT)


@pytest.mark.parametrize(("kind", "least"), [("Q8_0", -100), ("Q8_0", -3), ("Q4_0", -8)])
def test_integers_stay_what_they_are(kind: str, least: int) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    levels = torch.randint(least, -least, (5, 96), generator=torch.Generator().manual_seed(1))
    levels[:, 0], levels[:, 1], levels[4] = least, 1, 0
    weight = levels * 2.0 ** -torch.arange(3, 8)[:, None]
    stored = gguf.quants.dequantize(_blocks(weight, kind), gguf.GGMLQuantizationType[kind])
    torch.testing.assert_close(torch.from_numpy(stored), weight, rtol=0, atol=0)


@pytest.mark.parametrize("step", [1e-9, 1e-8])
def test_what_a_block_cannot_hold_exactly_is_rounded_as_ggml_does(step: float) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    levels = torch.randint(-100, 100, (5, 64), generator=torch.Generator().manual_seed(1))
    levels[:, 0] = 1
    for weight in (levels * step, levels * 0.5, torch.randn(5, 64)):  # no float16 step, no 4 bits, no integers
        as_ggml = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType.Q4_0)
        assert (_blocks(weight, "Q4_0") == as_ggml).all()


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (gpt(UNCUT, BlockShape(1, 32, 32, 256)), "every layer has the same heads, .* layer 1 has 1, of 32 channels"),
        (gpt(UNCUT, BlockShape(2, 20, 32, 256)), "layer 1 has 2, of 20 channels for queries and 32 for values"),
        (gpt(UNCUT, BlockShape(0, 0, 0, 256)), "layer 1 has 0"),
        (gpt(UNCUT, BlockShape(2, 32, 32, 250)), "layer 0 has 256 neurons, layer 1 250"),
        (gpt(BlockShape(2, 32, 32, 0), BlockShape(2, 32, 32, 0)), "layer 0 has 0 neurons"),
        (gpt(activation="relu"), "computes GELU, and this model relu"),
    ],
)
def test_what_the_architecture_cannot_hold_is_refused_by_its_rule(model: GPT, rule: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rule) as caught:
        export_gguf(model, tmp_path / "m.gguf", "fp32", TEXT)
    assert caught.value.hint == "Build it as .pte or .onnx."
    assert not (tmp_path / "m.gguf").exists()


def test_what_blocks_of_32_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="blocks of 32 inputs; the model is 40 wide and has 160 neurons"):
        export_gguf(gpt(width=40), tmp_path / "m.gguf", "int8", TEXT)


def test_another_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no precision"):
        export_gguf(gpt(), tmp_path / "m.gguf", "int4-channel", TEXT)
