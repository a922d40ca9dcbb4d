"""What defines each method of adapters: merging, frozen weights, normal floats, routing, composition, and programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fakes.nets import images, mixed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import harness.models
from harness.errors import UsageError
from harness.models.compress import packed
from harness.models.compress.apply import Compressed
from harness.models.compress.stored import LowRankUpdate
from harness.models.compress.training import Prepared
from harness.models.gpt.network import GPT, GPTConfig


def learned(net: nn.Module, method: str, seed: int = 0, **options: object) -> Prepared:
    """`net` with adapters that have numbers, as after training."""
    prepared = harness.models.prepare(net, method, **options)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prepared.module.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=numbers) * 0.1)
    return prepared


def again(small: Compressed, net: nn.Module, path: Path, *, whole: bool, parent: nn.Module | None = None) -> nn.Module:
    """The module that a file of `small` gives back."""
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


@pytest.mark.parametrize("method", ["lora"])
def test_before_training_nothing_is_added_and_afterwards_what_was_trained(method: str) -> None:
    net, inputs = mixed(), images()
    with torch.no_grad():
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


@pytest.mark.parametrize("method", ["lora"])
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


@pytest.mark.parametrize("method", ["lora"])
def test_a_program_computes_what_was_learned(
    method: str, tiny: GPTConfig, seeded: Callable[..., GPT], tmp_path: Path
) -> None:
    pytest.importorskip("executorch")
    from harness.models.zoo.compressing import export_compressed, precision_of

    small = learned(seeded(tiny), method).finish()
    assert precision_of(small) == "fp32"
    export_compressed(small, tmp_path / "small.pte")  # raises where the file computes something else
    assert (tmp_path / "small.pte").exists()
