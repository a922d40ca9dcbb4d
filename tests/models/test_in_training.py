"""What each method that is learned in training does with a user's module in a user's training loop."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.nets import Deep, images, mixed, tied
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

import harness.models
from harness.errors import UsageError
from harness.models.compress import packed
from harness.models.compress.in_training.llm_qat import LlmQat, written
from harness.models.compress.low_rank import morphte
from harness.models.compress.method import method_names
from harness.models.compress.rounding import grouped, round_to_nearest, searched_steps
from harness.models.compress.stored import Integers, Product, product_rows
from harness.models.compress.training import Prepared
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.generation import generate
from harness.models.gpt.network import GPT
from harness.models.train.tokenizer import packaged_tokenizer

GPT_CONFIG = GPTConfig(vocabulary_size=20, context=8, layers=2, heads=4, width=16)
TOKENS = torch.randint(20, (6, 8), generator=torch.Generator().manual_seed(1))
NEEDED: dict[str, dict[str, Any]] = {
    "grouped-query-training": {"heads": 4, "kv_heads": 2},
    "llm-qat": {"bits": 2},
    "lorahub": {"steps": 7, "l1": 0.0},
    "morphte": {"rank": 2},
}
"""Options that a method needs, or that leave it something to learn."""
NETS: dict[str, tuple[nn.Module, Tensor]] = {
    "albert": (Deep(), torch.randn(24, 8, generator=torch.Generator().manual_seed(1))),
    "grouped-query-training": (GPT(GPT_CONFIG), TOKENS),
    "lorahub": (tied(), torch.arange(160).view(8, 20) % 20),
    "morphte": (GPT(GPT_CONFIG), TOKENS),
}
"""A model and its inputs for the methods that cannot have `mixed`."""


def net_for(method: str) -> tuple[nn.Module, Tensor]:
    """A small model that the method can treat, and a batch of its inputs."""
    return NETS.get(method, (mixed(), images()))


def train(prepared: Prepared, inputs: Tensor, steps: int = 3) -> list[float]:
    """A training loop as a user may write it; returns its losses."""
    groups = prepared.training.parameter_groups()
    taken = {id(parameter) for group in groups for parameter in group["params"]}
    rest = [parameter for parameter in prepared.module.parameters() if id(parameter) not in taken]
    optimizer = torch.optim.AdamW([{"params": rest, "lr": 1e-2}, *groups], weight_decay=0.0)
    losses = []
    with torch.no_grad():
        wanted = prepared.original(inputs).flatten(0, -2).roll(1, 0)
    for step in range(steps):
        outputs = prepared.module(inputs)
        loss = prepared.training.text_weight * F.mse_loss(outputs.flatten(0, -2), wanted)
        loss = loss + prepared.training.output_loss(inputs, outputs)
        (loss + prepared.training.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        prepared.training.after_update(step)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("method", method_names(trained=True))
def test_a_module_is_trained_and_stored(method: str, tmp_path: Path) -> None:
    net, inputs = net_for(method)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(0)
    prepared = harness.models.prepare(net, method, **NEEDED.get(method, {}))
    losses = train(prepared, inputs, steps=20)
    assert losses[-1] < losses[0]
    small = prepared.finish()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert small.record.layers
    path = tmp_path / "small.safetensors"
    path.write_bytes(packed.encoded(small, net, whole=False))
    again, record = packed.decoded(path, net)
    with torch.no_grad():
        outputs = small.module(inputs)
        assert torch.equal(again.eval()(inputs), outputs)
        assert not torch.equal(outputs, net.eval()(inputs))
    assert record == json.loads(json.dumps(small.record.as_json()))


@pytest.mark.parametrize("method", method_names(trained=True))
def test_it_is_refused_without_training(method: str) -> None:
    with pytest.raises(UsageError, match=f"{method} is learned in training"):
        harness.models.compress(mixed(), method=method, calibration=images())


def test_a_method_after_training_has_nothing_to_prepare() -> None:
    with pytest.raises(UsageError, match="gptq acts on a trained model"):
        harness.models.prepare(mixed(), "gptq")


@pytest.mark.parametrize("method", ["qat", "quantisation-noise", "qaf", "llm-qat"])
def test_a_model_with_nothing_to_round_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match=r"No layer of this model can be rounded\. Choose"):
        harness.models.prepare(nn.LayerNorm(8), method)
    with pytest.raises(
        UsageError, match=r"can be rounded \(0: its 10 inputs are no multiple of the group of 4\)\. Choose"
    ):
        harness.models.prepare(nn.Sequential(nn.Linear(10, 4)), method, group=4)


def test_rounded_weights_are_those_of_the_training() -> None:
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    prepared = harness.models.prepare(net, "qat", bits=3, activation_bits=None)
    inputs = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    train(prepared, inputs)
    small = prepared.finish()
    with torch.no_grad():
        small.module[0].bias.copy_(prepared.module[0].bias)  # type: ignore[index, union-attr]
        small.module[2].bias.copy_(prepared.module[2].bias)  # type: ignore[index, union-attr]
        torch.testing.assert_close(small.module(inputs), prepared.module(inputs), rtol=1e-5, atol=1e-6)
    assert small.record.bits_per_weight == pytest.approx(3 + 32 * 40 / (64 * 32 + 32 * 8))


def linears(seed: int = 1) -> tuple[nn.Module, Tensor]:
    """Two linear layers, and inputs for them."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(16, 64)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_noise_of_no_weight_is_float32_and_of_all_is_qat(share: float) -> None:
    net, inputs = linears()
    noisy = harness.models.prepare(net, "quantisation-noise", bits=2, group=32, activation_bits=None, share=share)
    qat = harness.models.prepare(net, "qat", bits=2, group=32, activation_bits=None).module
    assert torch.equal(noisy.module.train()(inputs), net(inputs) if share == 0 else qat(inputs))
    assert torch.equal(noisy.module.eval()(inputs), qat(inputs))


@settings(max_examples=20)
@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
def test_noise_rounds_about_its_share_of_the_weights_and_leaves_the_others(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(64, 64)
    rounded = harness.models.prepare(layer, "quantisation-noise", share=share).module
    weight, noisy, nearest = layer.weight, rounded.train().weight, rounded.eval().weight
    assert ((noisy == weight) | (noisy == nearest)).all()
    assert (noisy != weight).float().mean().item() == pytest.approx(share, abs=0.05)  # 6 standard deviations


@settings(max_examples=10, deadline=None)
@given(layers=st.integers(2, 5), start=st.sampled_from(["first", "mean"]))
def test_all_blocks_are_one_block(layers: int, start: str) -> None:
    torch.manual_seed(0)
    net, inputs = Deep(layers), torch.randn(8, 8)
    prepared = harness.models.prepare(net, "albert", start=start)
    assert isinstance(prepared.module, Deep)
    first = prepared.module.layers[0].linear.weight
    found = [net.layers[number].linear.weight for number in range(layers if start == "mean" else 1)]
    torch.testing.assert_close(first, torch.stack(found).mean(0))
    train(prepared, inputs)
    small = prepared.finish()
    for model in (prepared.module, small.module):
        states = [layer.state_dict() for layer in model.layers]  # type: ignore[union-attr]
        assert all(torch.equal(state[name], states[0][name]) for state in states for name in states[0])
    assert not torch.equal(first, found[0])
    assert small.record.bits_per_weight == pytest.approx(16 / layers)


def test_a_file_holds_a_shared_block_once() -> None:
    def size(layers: int) -> int:
        net = Deep(layers, width=64)
        prepared = harness.models.prepare(net, "albert")
        train(prepared, torch.randn(8, 64), steps=1)
        tensors = load(packed.encoded(prepared.finish(), net, whole=False))
        return sum(tensor.nbytes for tensor in tensors.values())

    assert size(2) == size(6)


def test_shared_blocks_are_chosen() -> None:
    two = nn.ModuleDict({"left": Deep().layers, "right": Deep(2).layers})
    with pytest.raises(UsageError, match=r"has 2 lists .*: left, right\."):
        harness.models.prepare(two, "albert")
    prepared = harness.models.prepare(two, "albert", blocks="right", skip=("*.1.linear",))
    assert isinstance(prepared.module, nn.ModuleDict)
    left, right = list(prepared.module["left"]), list(prepared.module["right"])  # type: ignore[arg-type]
    assert left[0].norm.weight is not left[1].norm.weight
    assert right[0].norm.weight is right[1].norm.weight
    assert right[0].linear.weight is not right[1].linear.weight
    for options in ({"blocks": "middle"}, {}):
        with pytest.raises(UsageError, match="no list"):
            harness.models.prepare(mixed(), "albert", **options)


@settings(max_examples=20)
@given(bits=st.integers(2, 8), group=st.sampled_from([None, 16]), seed=st.integers(0, 1000))
def test_learned_steps_have_the_gradients_of_lsq(bits: int, group: int | None, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(32, 8)
    prepared = harness.models.prepare(layer, "qaf", bits=bits, group=group, activation_bits=None)
    (steps,) = prepared.training.parameter_groups()[0]["params"]
    steps.data *= 0.7  # so that some weights lie beyond the last level
    rounding = prepared.module.parametrizations.weight[0]  # type: ignore[index, union-attr]
    used = rounding.steps(layer.weight)  # type: ignore[operator]
    upstream = torch.randn(8, 32)
    prepared.module.weight.backward(upstream)  # type: ignore[operator]
    levels = grouped(layer.weight.detach(), group) / used[:, :, None]
    inside = (levels > -(1 << (bits - 1))) & (levels < (1 << (bits - 1)) - 1)
    limit = levels.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    each = grouped(upstream, group) * torch.where(inside, levels.round() - levels, limit)
    scale = 1 / math.sqrt((group or 32) * ((1 << (bits - 1)) - 1))
    torch.testing.assert_close(steps.grad, each.sum(dim=2) * scale, rtol=1e-4, atol=1e-4)
    original = prepared.module.parametrizations.weight.original  # type: ignore[union-attr]
    torch.testing.assert_close(grouped(original.grad, group), grouped(upstream, group) * inside)  # type: ignore[arg-type]


def test_fine_tuning_begins_at_the_searched_steps_and_stores_the_learned_ones() -> None:
    net, inputs = linears()
    prepared = harness.models.prepare(net, "qaf", bits=2, activation_bits=None, step_rate=1e-2)
    searched = [searched_steps(layer.weight.detach(), 2) for layer in (net[0], net[2])]  # type: ignore[index]
    torch.testing.assert_close(prepared.training.parameter_groups()[0]["params"], searched)
    for (name, stored), steps in zip(prepared.finish().weights.layers.items(), searched, strict=True):
        weight = net.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        torch.testing.assert_close(stored.weight(), round_to_nearest(weight, steps, 2, weight.shape).weight())
    train(prepared, inputs)
    with torch.no_grad():
        for before, stored in zip(searched, prepared.finish().weights.layers.values(), strict=True):
            assert isinstance(stored, Integers)
            assert not torch.equal(before, stored.steps)
            assert (stored.steps > 0).all()


def small_gpt(layers: int = 2) -> GPT:
    """A GPT with a context of 12 tokens."""
    torch.manual_seed(0)
    return GPT(GPTConfig(layers=layers, heads=2, width=16, context=12, vocabulary_size=11, dropout=0.0)).eval()


def test_text_is_written_as_the_whole_model_computes_it() -> None:
    model, seen = small_gpt(), []

    def choose(logits: Tensor, position: int) -> Tensor:
        seen.append(logits)
        return (logits.argmax(dim=1) + position) % 11

    tokens = generate(model, torch.arange(5), choose)
    assert tokens.shape == (5, 12)
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(seen, dim=1), model(tokens)[:, :-1], rtol=0, atol=1e-4)


def test_text_is_the_same_for_a_seed_and_begins_with_the_most_likely_tokens() -> None:
    model = small_gpt()
    text = written(model, 100, seed=3)
    assert len(text) == 108  # whole sequences
    assert (text == written(model, 100, seed=3)).all()
    assert (text != written(model, 100, seed=4)).any()
    sequences = torch.from_numpy(text).view(-1, 12)
    with torch.no_grad():
        most_likely = model(sequences).argmax(dim=-1)
    assert torch.equal(sequences[:, 1:4], most_likely[:, :3])
    assert not torch.equal(sequences[:, 6:], most_likely[:, 5:-1])


def test_llm_qat_learns_only_from_its_parent() -> None:
    model = small_gpt()
    prepared = harness.models.prepare(model, "llm-qat", tokens=30)
    training = prepared.training
    assert isinstance(training, LlmQat)
    text = training.tokens(np.zeros(5, dtype=np.int64))
    assert training.text_weight == 0
    inputs = torch.from_numpy(text).view(-1, 12)
    labels = model(inputs).softmax(dim=-1)
    torch.testing.assert_close(training.labels(inputs), labels)
    logits = prepared.module(inputs)
    entropy = -(labels * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(training.output_loss(inputs, logits), entropy)
    facts = prepared.finish().record.facts
    assert facts["generated_text"]["tokens"] == len(text)
    assert facts["cache_layers"] == ["blocks.0.attention.qkv", "blocks.1.attention.qkv"]


def test_keys_and_values_are_rounded_and_queries_are_not() -> None:
    model, x = small_gpt(1), torch.randn(2, 5, 16)
    asked: dict[str, Any] = {"bits": 8, "activation_bits": None}
    parts = [
        harness.models.prepare(model, "llm-qat", cache_bits=bits, **asked)
        .module.get_submodule("blocks.0.attention.qkv")(x)
        .chunk(3, dim=-1)
        for bits in (None, 4)
    ]
    assert torch.equal(parts[0][0], parts[1][0])
    for plain, rounded in zip(parts[0][1:], parts[1][1:], strict=True):
        steps = plain.abs().amax(dim=-1, keepdim=True) / 7
        torch.testing.assert_close(rounded, (plain / steps).round() * steps)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_heads_of_a_group_have_the_same_keys_and_values_when_trained(kv_heads: int) -> None:
    net = GPT(GPT_CONFIG)
    after = harness.models.compress(net, method="grouped-query", heads=4, kv_heads=kv_heads)
    prepared = harness.models.prepare(net, "grouped-query-training", heads=4, kv_heads=kv_heads)
    with torch.no_grad():
        torch.testing.assert_close(prepared.module(TOKENS), after.module(TOKENS))
    train(prepared, TOKENS)
    small = prepared.finish()
    for layer in (prepared.module.get_submodule("blocks.0.attention.qkv"), small.module.blocks[0].attention.qkv):  # type: ignore[index, union-attr]
        _, *shared = layer.weight.detach().view(3, kv_heads, 4 // kv_heads, 4, 16)  # type: ignore[union-attr, operator]
        assert all(torch.equal(heads, heads[:, :1].expand_as(heads)) for heads in shared)
    assert not torch.equal(small.module.blocks[0].attention.qkv.weight, after.module.blocks[0].attention.qkv.weight)  # type: ignore[index, union-attr]
    assert not small.weights.changed
    assert {name.rsplit(".", 1)[1] for name in small.weights.layers} == {"qkv", "proj"}


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(2, 90), order=st.integers(2, 4), rank=st.integers(1, 4))
def test_a_row_is_the_sum_of_the_products_of_its_pieces(tokens: int, order: int, rank: int) -> None:
    index = morphte.digits(tokens, order)
    assert len(index.unique(dim=0)) == tokens
    generator = torch.Generator().manual_seed(0)
    tables = tuple(torch.randn(int(index.max()) + 1, rank, 2, generator=generator).half() for _ in range(order))
    weight = Product(tables, index, torch.Size((tokens, 2**order))).weight()
    for row, pieces in zip(weight, index.tolist(), strict=True):
        wanted = torch.zeros(2**order)
        for term in range(rank):
            product = torch.ones(1)
            for table, piece in zip(tables, pieces, strict=True):
                product = torch.kron(product, table[piece, term].float())
            wanted += product
        torch.testing.assert_close(row, wanted)


def test_pieces_of_subwords_are_what_was_merged() -> None:
    model = {"vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "cabc": 5}}
    model["merges"] = [["a", "b"], ["ab", "c"], ["c", "abc"]]  # type: ignore[assignment]
    two, three = (morphte.merged_pieces(json.dumps({"model": model}), order) for order in (2, 3))
    assert two.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [3, 2], [2, 3]]
    assert three.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 1, 1], [2, 2, 1]]
    packaged = morphte.merged_pieces(packaged_tokenizer("bpe-1024").tokenizer_json, 3)
    assert len(packaged.unique(dim=0)) == 1024


def test_products_are_fitted_to_rows_that_are_products() -> None:
    index, generator = morphte.digits(16, 2), torch.Generator().manual_seed(1)
    weight = product_rows([torch.randn(4, 1, 4, generator=generator) for _ in range(2)], index)
    found = product_rows(morphte.fitted(weight, index, 2), index)
    assert (found - weight).norm() < 0.1 * weight.norm()
