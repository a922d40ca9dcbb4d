"""Every method on a user's own module: what it treats, what it leaves and says so, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from fakes.nets import Tied, images, mixed
from torch import Tensor, nn

import harness.models
from harness.errors import DataError, UsageError
from harness.models.compress import method as methods
from harness.models.compress.apply import Compressed
from harness.models.compress.method import after_training, find_method, method_names
from harness.models.compress.stored import Integers, Looked, OutlierColumns, unpack_bits
from harness.models.gpt.network import GPT, GPTConfig

NEEDED: dict[str, dict[str, Any]] = {"grouped-query": {"heads": 8, "kv_heads": 2, "separate": ("second",)}}
INTEGERS = ("absmax", "round-to-nearest", "gptq", "awq", "omniquant", "smoothquant")


def small(name: str, **options: Any) -> Compressed:
    return harness.models.compress(mixed(), method=name, calibration=images(), **(NEEDED.get(name, {}) | options))


def test_the_methods_of_the_package_are_found_by_entry_point() -> None:
    assert set(method_names()) >= {*INTEGERS, "zero-point", "llm-int8", "hqq", "squeezellm", "svd", "activation-svd"}
    assert set(method_names()) >= {"tucker", "tensor-train", "tensor-train-matrix", "hypoformer", "grouped-query"}
    assert all(find_method(name).name == name and find_method(name).source for name in method_names())


@pytest.mark.parametrize("name", method_names(trained=False))
def test_the_module_computes_with_the_stored_weights(name: str) -> None:
    """The copy equals the model with every weight put in by hand; the model is as it was, and so is its mode."""
    net, before = mixed(), mixed().state_dict()
    net.train()
    small_net = harness.models.compress(net, method=name, calibration=images(), **NEEDED.get(name, {}))
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    by_hand = mixed()
    with torch.no_grad():
        for key, tensor in small_net.weights.changed.items():
            by_hand.get_parameter(key).copy_(tensor)
        for key, stored in small_net.weights.layers.items():
            by_hand.get_submodule(key).weight.copy_(stored.weight())  # type: ignore[operator]
        small_net.module.eval()
        torch.testing.assert_close(small_net.module(images()), by_hand(images()), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", method_names(trained=False))
def test_the_record_says_what_was_done(name: str) -> None:
    record = small(name).record
    treated = {layer.layer for layer in record.layers}
    assert record.method == name
    assert treated | record.left.keys() == {"conv", "transposed", "first", "second", "out"}
    assert not treated & record.left.keys()
    assert record.left["transposed"] == "the method does not treat ConvTranspose2d"
    assert record.weights == sum(layer.weights for layer in record.layers)
    assert 0 < record.bits_per_weight < 32
    assert all(0 <= layer.relative_error < 1.2 for layer in record.layers)
    assert (record.calibration is not None) == after_training(name).calibrated
    if record.calibration is not None:
        assert record.calibration["samples"] == 24
        assert len(record.calibration["sha256"]) == 64
    assert record.as_json()["layers"][0]["layer"] == record.layers[0].layer


@pytest.mark.parametrize("name", method_names(trained=False))
def test_the_same_inputs_give_the_same_weights(name: str) -> None:
    first, second = small(name).weights, small(name).weights
    for layer, stored in first.layers.items():
        tensors = second.layers[layer].tensors()
        assert all(torch.equal(tensor, tensors[part]) for part, tensor in stored.tensors().items())


@pytest.mark.parametrize("name", [*INTEGERS, "zero-point", "hqq", "llm-int8"])
def test_levels_are_within_their_bits_and_packed_without_loss(name: str) -> None:
    options = {"group": 16} if name == "hqq" else {"threshold": 2.0} if name == "llm-int8" else {"bits": 3}
    for stored in small(name, **options).weights.layers.values():
        code = stored.integers if isinstance(stored, OutlierColumns) else stored
        assert isinstance(code, Integers)
        low = 0 if code.zeros is not None else -(1 << (code.bits - 1))
        levels = code.levels.to(torch.int16)
        assert levels.min() >= low
        assert levels.max() < low + (1 << code.bits)
        packed = stored.tensors()["levels"]
        assert packed.numel() == -(-levels.numel() * code.bits // 8)
        assert torch.equal(unpack_bits(packed, code.bits, levels.numel()) + low, levels.flatten())


@pytest.mark.parametrize(
    ("name", "options", "kernel"),
    [
        ("absmax", {}, "int8"),
        ("gptq", {"bits": 3}, "int4-channel"),
        ("round-to-nearest", {"group": 32}, "int4-group32"),
        ("round-to-nearest", {"group": 64}, "int4-channel"),
        ("round-to-nearest", {"group": 16}, "float32, dense"),
        ("round-to-nearest", {"group": 32, "bits": 8}, "float32, dense"),
        ("zero-point", {}, "float32, dense"),
        ("hqq", {}, "float32, dense"),
        ("squeezellm", {}, "float32, dense"),
        ("svd", {}, "float32"),
        ("tensor-train", {}, "float32"),
    ],
)
def test_the_record_names_the_kernel_that_runs(name: str, options: dict[str, Any], kernel: str) -> None:
    record = small(name, **options).record
    assert {layer.layer: layer.runs_as for layer in record.layers}["first"] == kernel
    assert all(layer.runs_as == "float32, dense" for layer in record.layers if layer.layer == "conv" and name != "svd")


def test_a_layer_that_is_no_multiple_of_a_group_is_left() -> None:
    assert small("gptq", group=32).record.left["conv"] == "its 27 inputs are no multiple of the group of 32"
    with pytest.raises(UsageError, match=r"gptq can treat no layer of this model \(.*no multiple of the group of 48"):
        harness.models.compress(nn.Linear(32, 8), method="gptq", group=48, calibration=torch.randn(4, 32))


def test_layers_are_skipped_by_name() -> None:
    record = small("absmax", skip=("conv", "s*")).record
    assert [layer.layer for layer in record.layers] == ["first", "out"]
    assert record.left["second"] == "skipped by request"


def test_shared_weights_and_embeddings_are_left_or_rounded_on_request() -> None:
    torch.manual_seed(0)
    record = harness.models.compress(Tied(), method="absmax").record
    assert [layer.layer for layer in record.layers] == ["block"]
    assert record.left["embedding"] == "an embedding, and no embedding_bits are asked for"
    assert record.left["head"] == "it shares its weight with embedding"
    asked = harness.models.compress(Tied(), method="gptq", bits=4, embedding_bits=8, calibration=torch.arange(20)[None])
    assert [layer.layer for layer in asked.record.layers] == ["block"]
    assert asked.record.left["embedding"] == "it shares its weight with head"


def test_embeddings_are_rounded_row_by_row() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(20, 32), nn.Linear(32, 4))
    small_net = harness.models.compress(net, method="svd", embedding_bits=8)
    table, weight = small_net.weights.layers["0"], net[0].weight.detach()
    assert isinstance(table, Integers)
    assert torch.equal(table.steps[:, 0], weight.abs().amax(1) / 127)  # type: ignore[operator]
    assert torch.equal(table.weight(), small_net.module[0].weight)  # type: ignore[index]
    assert {layer.layer: layer.runs_as for layer in small_net.record.layers} == {"0": "int8", "1": "float32"}


def test_a_layer_that_the_calibration_does_not_run_is_left() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run, self.idle = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.run(x))

    for name in ("gptq", "awq", "smoothquant", "omniquant", "llm-int8", "squeezellm", "activation-svd"):
        record = harness.models.compress(Partly(), method=name, calibration=torch.randn(64, 8)).record
        assert record.left == {"idle": "the calibration does not run it"}


def test_the_model_may_be_a_single_layer() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 16)
    small_net = harness.models.compress(layer, method="svd", rank=3)
    assert len(list(small_net.module.children())) == 2
    assert harness.models.compress(layer, method="absmax").module(torch.ones(16)).shape == (16,)


def test_self_attention_of_torch_is_named() -> None:
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    record = harness.models.compress(net, method="svd").record
    assert record.left["self_attn"] == "the method does not treat MultiheadAttention"
    assert "is a layer of its own kind" in record.left["self_attn.out_proj"]
    assert [layer.layer for layer in record.layers] == ["linear1", "linear2"]


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "unknown method": (lambda: small("gtpq"), r"There is no compression method 'gtpq'. Choose one of: absmax, "),
    "unknown option": (lambda: small("gptq", bit=4), r"gptq has no option 'bit'. Choose from: .*bits"),
    "missing option": (
        lambda: harness.models.compress(mixed(), method="grouped-query", heads=4),
        r"grouped-query needs the option 'kv_heads'",
    ),
    "bits": (lambda: small("gptq", bits=9), r"bits is 9, not a whole number from 2 to 8"),
    "one bit": (lambda: small("awq", bits=1), r"bits is 1, not a whole number from 2 to 8"),
    "kind": (lambda: small("gptq", bits="four"), r"bits of gptq cannot be 'four'. Give a whole number"),
    "truth": (lambda: small("gptq", bits=True), r"bits of gptq cannot be True"),
    "share": (lambda: small("svd", share=1.5), r"share is 1.5, not a number above 0 and up to 1"),
    "per": (lambda: small("absmax", per="row"), r"per is 'row', not one of tensor, channel"),
    "no data": (lambda: harness.models.compress(mixed(), method="gptq"), r"gptq needs calibration inputs"),
    "heads": (lambda: small("grouped-query", heads=6, kv_heads=4), r"4 kv_heads do not divide 6 heads"),
    "nothing to do": (
        lambda: harness.models.compress(nn.ReLU(), method="absmax"),
        r"absmax can treat no layer of this model. ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_one_sentence(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert caught.value.hint


@pytest.mark.parametrize("name", [name for name in method_names(trained=False) if after_training(name).calibrated])
def test_calibration_that_does_not_fit_is_one_sentence(name: str) -> None:
    def given(inputs: Any) -> Compressed:
        return harness.models.compress(mixed(), method=name, calibration=inputs)

    with pytest.raises(DataError, match=r"Input 1 of the calibration has a NaN or an infinite number"):
        given(torch.full((2, 3, 8, 8), torch.nan))
    with pytest.raises(DataError, match=r"does not take the calibration inputs of shape \(2, 3, 9, 9\) float32 \("):
        given(torch.randn(2, 3, 9, 9))
    with pytest.raises(DataError, match=r"There are no calibration inputs"):
        given([])
    with pytest.raises(DataError, match=r"does not take the calibration inputs of shape .* int64"):
        given([images(), images().long()])


def test_a_model_that_gives_nan_is_refused() -> None:
    net = mixed()
    with torch.no_grad():
        net.first.weight[0, 0] = torch.nan
    with pytest.raises(DataError, match="output for the calibration inputs has a NaN"):
        harness.models.compress(net, method="gptq", calibration=images())


def test_batches_count_as_much_as_their_samples() -> None:
    together = harness.models.compress(mixed(), method="awq", calibration=images())
    apart = harness.models.compress(mixed(), method="awq", calibration=[(part,) for part in images().split(7)])
    assert apart.record.calibration is not None
    assert apart.record.calibration["samples"] == 24
    torch.testing.assert_close(apart.module(images()), together.module(images()), atol=1e-3, rtol=1e-3)


def test_a_method_of_others_is_found_and_a_broken_one_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        assert group == "harness.compression"
        return [EntryPoint(name, f"fakes.nets:{value}", group) for name, value in theirs.items()]

    theirs = {"nothing": "NOTHING", "absent": "ABSENT", "text": "Mixed"}
    monkeypatch.setattr(methods, "entry_points", points)
    assert find_method("nothing").family == "theirs"
    for name in ("absent", "text"):
        with pytest.raises(UsageError, match=f"The compression method '{name}' cannot be loaded"):
            find_method(name)


def test_options_may_be_texts() -> None:
    gptq = find_method("gptq")
    options = gptq.parse_text({"bits": "3", "damping": "0.1", "search": "false", "skip": "a,b*"})
    assert (options.bits, options.damping, options.search, options.skip) == (3, 0.1, False, ("a", "b*"))
    for name, text in (("bits", "3.5"), ("search", "yes"), ("damping", "x"), ("group", "none")):
        with pytest.raises(UsageError, match=f"{name} of gptq cannot be '{text}'"):
            gptq.parse_text({name: text})


def test_every_method_serves_our_own_network(tiny: GPTConfig, seeded: Callable[..., GPT]) -> None:
    model = seeded(tiny)
    tokens = torch.randint(tiny.vocabulary_size, (8, tiny.context), generator=torch.Generator().manual_seed(0))
    for name in method_names(trained=False):
        needed = {"heads": 2, "kv_heads": 1} if name == "grouped-query" else {}
        grouped = {"group": 16} if name == "hqq" else {}
        record = harness.models.compress(model, method=name, calibration=tokens, **needed, **grouped).record
        assert len(record.layers) == {"grouped-query": 2, "hypoformer": 6}.get(name, 8)
        assert record.left["token_embedding"] == "an embedding, and no embedding_bits are asked for"


def test_looked_up_weights_are_packed_without_loss() -> None:
    for stored in small("squeezellm", bits=3, largest=0.02).weights.layers.values():
        assert isinstance(stored, Looked)
        parts = stored.tensors()
        indices = unpack_bits(parts["indices"], 3, stored.indices.numel()).view(stored.indices.shape)
        again = Looked(
            indices, parts["tables"].float(), parts["places"].long(), parts["values"].float(), 3, stored.shape
        )
        assert torch.equal(again.weight(), stored.weight())
