"""What defines each adapter method: merging, frozen weights, normal floats, routing, composition, and programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.nets import Tied, images, mixed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import harness.models
from harness.errors import UsageError
from harness.models.compress import normal_float, packed
from harness.models.compress.adapters.adapter import LowRank, stored_number
from harness.models.compress.adapters.experts import Experts
from harness.models.compress.adapters.lorahub import Several
from harness.models.compress.apply import Compressed
from harness.models.compress.stored import LowRankUpdate
from harness.models.compress.training import Prepared
from harness.models.gpt.network import GPT, GPTConfig

ADAPTING = ["lora", "qlora", "molora"]


def learned(net: nn.Module, method: str, seed: int = 0, **options: Any) -> Prepared:
    """`net` with random numbers in its adapters, as after training."""
    prepared = harness.models.prepare(net, method, **options)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prepared.module.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=numbers) * 0.1)
    return prepared


def again(small: Compressed, net: nn.Module, path: Path, *, whole: bool, parent: nn.Module | None = None) -> nn.Module:
    """The module that is read back from a file of `small`."""
    path.write_bytes(packed.encoded(small, net, whole=whole))
    return packed.decoded(path, parent or net)[0].eval()


@given(seed=st.integers(0, 1000), rank=st.integers(1, 8), alpha=st.floats(0.5, 64))
@settings(max_examples=20, deadline=None)
def test_a_merged_lora_is_its_sum_to_the_bit(seed: int, rank: int, alpha: float) -> None:
    net = nn.Linear(24, 16)
    prepared = learned(net, "lora", seed, rank=rank, alpha=alpha)
    small = prepared.finish()
    update = small.weights.layers[""]
    assert isinstance(update, LowRankUpdate)
    wanted = net.weight + (update.writing @ update.reading) * (alpha / rank)
    assert torch.equal(small.module.weight, wanted)  # type: ignore[arg-type]
    assert small.record.bits_per_weight == 32
    assert small.record.facts["adapter_bytes"] == 2 * rank * (24 + 16)


def test_the_record_has_the_bytes_of_the_adapters() -> None:
    small = learned(nn.Linear(24, 16), "molora", rank=2, experts=3).finish()
    assert small.record.facts["adapter_bytes"] == 2 * (3 * 24 + 6 * (24 + 16))  # a router and three experts, float16
    assert hub().finish().record.facts["adapter_bytes"] == 2 * 2 * (32 + 32)


@pytest.mark.parametrize("method", ADAPTING)
def test_before_training_nothing_is_added_and_afterwards_what_was_trained(method: str) -> None:
    net, inputs = mixed(), images()
    with torch.no_grad():
        if method != "qlora":  # its weights are rounded from the start
            torch.testing.assert_close(harness.models.prepare(net, method).module(inputs), net(inputs), rtol=0, atol=0)
        prepared = learned(net, method)
        torch.testing.assert_close(prepared.finish().module(inputs), prepared.module(inputs), rtol=1e-3, atol=1e-3)


def test_nothing_else_is_trained() -> None:
    prepared = harness.models.prepare(mixed(), "lora", rank=4, layers=("first", "o*"))
    trained = {name: p.numel() for name, p in prepared.module.named_parameters() if p.requires_grad}
    assert trained == {
        "first.adapter.reading": 4 * 64,
        "first.adapter.writing": 4 * 64,
        "out.adapter.reading": 4 * 64,
        "out.adapter.writing": 4 * 5,
    }
    small = prepared.finish()
    assert list(small.weights.layers) == ["first", "out"]
    assert small.record.left["second"] == "the option `layers` does not name it"
    assert small.record.left["conv"] == "the method does not treat convolutions"
    assert not small.weights.changed


@pytest.mark.parametrize("method", ADAPTING)
def test_a_whole_file_needs_no_weights_of_the_parent_and_another_no_more_than_the_adapter(
    method: str, tmp_path: Path
) -> None:
    net, inputs = mixed(), images()
    small = learned(net, method).finish()
    wanted = small.module(inputs)
    assert torch.equal(again(small, net, tmp_path / "w", whole=True, parent=mixed(seed=5))(inputs), wanted)
    assert torch.equal(again(small, net, tmp_path / "w", whole=False)(inputs), wanted)


def test_a_model_that_is_one_layer(tmp_path: Path) -> None:
    net = nn.Linear(6, 5)
    small = learned(net, "lora", rank=2).finish()
    other = again(small, net, tmp_path / "w", whole=True, parent=nn.Linear(6, 5))
    assert torch.equal(other(torch.ones(6)), small.module(torch.ones(6)))


def test_options_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="rank is 0"):
        harness.models.prepare(mixed(), "lora", rank=0)
    with pytest.raises(UsageError, match="alpha is -1"):
        harness.models.prepare(mixed(), "lora", alpha=-1.0)
    with pytest.raises(UsageError, match="No layer of this model can have an adapter"):
        harness.models.prepare(mixed(), "lora", layers=("none",))


def test_peft_merges_the_same_weights() -> None:
    peft = pytest.importorskip("peft")
    net, inputs = mixed(), images()
    small = learned(net, "lora", rank=4, alpha=6.0).finish()
    names = list(small.weights.layers)
    theirs = peft.get_peft_model(mixed(), peft.LoraConfig(r=4, lora_alpha=6, target_modules=names))
    with torch.no_grad():
        for name in names:
            layer, update = theirs.base_model.model.get_submodule(name), small.weights.layers[name]
            assert isinstance(update, LowRankUpdate)
            layer.lora_A["default"].weight.copy_(update.reading)
            layer.lora_B["default"].weight.copy_(update.writing)
        merged = theirs.merge_and_unload()
        for name in names:
            assert torch.equal(merged.get_submodule(name).weight, small.module.get_submodule(name).weight)
        assert torch.equal(merged(inputs), small.module(inputs))


@pytest.mark.parametrize("method", ADAPTING)
def test_a_program_computes_what_was_learned(
    method: str, tiny: GPTConfig, seeded: Callable[..., GPT], tmp_path: Path
) -> None:
    pytest.importorskip("executorch")
    from harness.models.zoo.compressing import export_compressed, precision_of

    small = learned(seeded(tiny), method).finish()
    assert precision_of(small) == "fp32"
    export_compressed(small, tmp_path / "small.pte")  # raises where the file computes something else
    assert (tmp_path / "small.pte").exists()


PUBLISHED = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
PUBLISHED += [-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725]
PUBLISHED += [
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]
"""The levels in appendix E of the paper."""


def test_normal_floats_are_those_of_the_paper() -> None:
    torch.testing.assert_close(normal_float.levels(), torch.tensor(PUBLISHED), rtol=0, atol=1e-6)


def test_normal_floats_are_those_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    theirs = functional.get_4bit_type("nf4", device="cpu")
    torch.testing.assert_close(normal_float.levels(), theirs, rtol=0, atol=1e-6)
    weight = torch.randn(32, 96, generator=torch.Generator().manual_seed(0))
    packed_weight, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    wanted = functional.dequantize_4bit(packed_weight, state)
    torch.testing.assert_close(normal_float.quantise(weight, double=False).weight(), wanted, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 1000), shape=st.tuples(st.integers(1, 9), st.integers(1, 90)), size=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_a_normal_float_is_the_nearest_level_of_its_block(seed: int, shape: tuple[int, int], size: float) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size
    found = normal_float.quantise(weight, double=False)
    scales = found.block_scales().repeat_interleave(normal_float.BLOCK)[: weight.numel()].view(shape)
    nearest = (normal_float.levels() - (weight / scales)[..., None]).abs().amin(dim=-1)
    torch.testing.assert_close((found.weight() - weight).abs() / scales, nearest, rtol=0, atol=1e-5)
    widest = (normal_float.levels()[1:] - normal_float.levels()[:-1]).max() / 2
    assert ((found.weight() - weight).abs() <= scales * (widest + 1e-5)).all()
    double = normal_float.quantise(weight, double=True)
    off = (found.block_scales() - found.block_scales().mean()).abs().max()
    assert ((double.block_scales() - found.block_scales()).abs() <= off / 16 + 1e-5 * size).all()


def test_a_normal_float_takes_the_bits_of_the_paper() -> None:
    weight = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    single = normal_float.quantise(weight, double=False).size_bits() / weight.numel()
    double = normal_float.quantise(weight, double=True).size_bits() / weight.numel()
    assert single == 4 + 32 / 64
    assert double == pytest.approx(4 + 8 / 64 + 32 / (64 * 256) + 32 / weight.numel())
    assert not normal_float.quantise(torch.zeros(3, 70), double=True).weight().any()


@given(seed=st.integers(0, 1000), top=st.one_of(st.none(), st.integers(1, 5)))
@settings(max_examples=30, deadline=None)
def test_the_shares_of_a_token_add_up_to_one(seed: int, top: int | None) -> None:
    torch.manual_seed(seed)
    experts = Experts(12, 7, 5, 2, top).drawn(1.0)
    nn.init.normal_(experts.router.weight)
    shares = experts.shares(torch.randn(3, 4, 12))
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(3, 4))
    assert ((shares > 0).sum(dim=-1) == (top or 5)).all()


def test_experts_are_mixed_by_their_shares() -> None:
    torch.manual_seed(0)
    experts, x = Experts(12, 7, 3, 2, 2), torch.randn(4, 12)
    wanted = torch.zeros(4, 7)
    for number in range(3):
        ranks = slice(2 * number, 2 * number + 2)
        own = x @ experts.reading.weight[ranks].T @ experts.writing.weight[:, ranks].T
        wanted = wanted + experts.shares(x)[:, number : number + 1] * own
    torch.testing.assert_close(experts(x), wanted)


def test_a_program_mixes_the_experts(tiny: GPTConfig, seeded: Callable[..., GPT], tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    from harness.models.zoo.compressing import export_compressed

    small = learned(seeded(tiny), "molora").finish()
    export_compressed(small, tmp_path / "small.pte")


def hub(steps: int = 2, **options: Any) -> Prepared:
    """A small language model after three phases of `steps` each, with random numbers in its adapters."""
    torch.manual_seed(0)
    prepared = learned(Tied().eval(), "lorahub", rank=2, steps=steps, **options)
    tokens = torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))
    for step in range(3 * steps):
        prepared.training.output_loss(tokens, prepared.module(tokens))
        prepared.training.after_update(step)
    return prepared


@pytest.mark.parametrize("number", range(3))
def test_a_composition_of_one_is_that_lora(number: int) -> None:
    several = hub().module.get_submodule("block.adapter")
    assert isinstance(several, Several)
    part = several.parts[number]
    assert isinstance(part, LowRank)
    reading, writing = several.composed(torch.eye(3)[number])
    assert torch.equal(reading, stored_number(part.reading))
    assert torch.equal(writing, stored_number(part.writing))


@given(w=st.lists(st.floats(-1.5, 1.5, width=16), min_size=3, max_size=3))
@settings(max_examples=15, deadline=None)
def test_a_composition_is_the_sum_of_the_matrices(w: list[float]) -> None:
    several = hub().module.get_submodule("block.adapter")
    assert isinstance(several, Several)
    reading = torch.zeros(2, 32)
    for share, part in zip(w, several.parts, strict=True):
        assert isinstance(part, LowRank)
        reading = reading + share * part.reading.detach()
    torch.testing.assert_close(several.composed(torch.tensor(w))[0], reading, rtol=2e-3, atol=1e-4)


def test_what_is_searched_is_no_worse_than_no_lora() -> None:
    facts = hub(tries=30).finish().record.facts
    assert facts["phases_trained"] == 3
    cost = facts["loss_of_examples"] + 0.05 * sum(abs(w) for w in facts["coefficients"])
    assert cost <= facts["loss_without"] + 1e-6
    assert max(abs(w) for w in facts["coefficients"]) <= 1.5
    assert hub(tries=30).finish().record.facts == facts


def test_each_phase_trains_its_own_lora_on_its_own_part() -> None:
    training = harness.models.prepare(Tied(), "lorahub", steps=4, examples=1).training
    text = np.arange(256 + 3 * 300)
    rest = training.tokens(text)
    assert len(rest) == 900
    parts = [training.part(rest, step) for step in (0, 3, 4, 7, 8, 11, 12)]
    assert [int(part[0]) for part in parts] == [0, 0, 300, 300, 600, 600, 600]
    assert {len(part) for part in parts} == {300}
    prepared = harness.models.prepare(Tied(), "lorahub", steps=1)
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    for step in range(3):
        prepared.module(tokens).square().sum().backward()
        got = {name for name, p in prepared.module.named_parameters() if p.grad is not None}
        assert got == {f"block.adapter.parts.{step}.{which}" for which in ("reading", "writing")}
        prepared.module.zero_grad()
        prepared.training.after_update(step)
    resumed = harness.models.prepare(Tied(), "lorahub", steps=1)
    resumed.training.restore(prepared.training.state())
    assert resumed.training.figures() == {"phase": 2.0}


def test_lorahub_needs_a_language_model_and_examples() -> None:
    prepared = harness.models.prepare(mixed(), "lorahub", steps=1)
    with pytest.raises(UsageError, match="loss of the next token"):
        prepared.training.output_loss(images(), prepared.module(images()))
    with pytest.raises(UsageError, match="has seen no examples"):
        prepared.finish()
    with pytest.raises(UsageError, match="A text of 100 tokens"):
        prepared.training.tokens(np.zeros(100, dtype=np.int64))


def test_a_composition_becomes_a_program(tiny: GPTConfig, seeded: Callable[..., GPT], tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    from harness.models.zoo.compressing import export_compressed

    prepared = learned(seeded(tiny), "lorahub", steps=1)
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    prepared.training.output_loss(tokens, prepared.module(tokens))
    export_compressed(prepared.finish(), tmp_path / "small.pte")
