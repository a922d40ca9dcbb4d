from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import ModelError, UsageError
from harness.models.compress import selfcompression
from harness.models.compress.codes import Code, bits_per_weight, report, report_layer
from harness.models.compress.selfcompression import SelfCompressed, SelfCompression, quantise
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.recipe import CompressionRecipe, TrainingRecipe
from harness.models.train.data import Corpus
from harness.models.train.loop import train

WEIGHT = torch.tensor([[-9.0, -1.3, 0.2, 1.1, 7.0, 2.4], [0.4, -0.6, 0.1, -0.2, 0.3, 0.9]], dtype=torch.float64)
# One group a channel, and blocks of three columns.
GROUPINGS = [([[3.3], [2.6]], [[-0.4], [-2.2]]), ([[3.3, 2.4], [2.6, 1.7]], [[-0.4, 1.1], [-2.2, -0.7]])]
LAYERS = [
    f"blocks.{block}.{layer}" for block in (0, 1) for layer in ("attention.qkv", "attention.proj", "ffn.fc", "ffn.out")
]
PRICES = {"qkv": 10.0, "proj": 20.0, "fc": 30.0, "out": 40.0}


def unrounded(weight: Tensor, bits: Tensor, exponent: Tensor) -> Tensor:
    size = weight.size(1) // bits.size(1)
    step, half = (2 ** part.repeat_interleave(size, dim=1) for part in (exponent, bits - 1))
    return step * torch.maximum(torch.minimum(weight / step, half - 1), -half)


def inputs_of(grouping: tuple[list[list[float]], list[list[float]]]) -> list[Tensor]:
    bits, exponent = (torch.tensor(values, dtype=torch.float64) for values in grouping)
    return [tensor.clone().requires_grad_() for tensor in (WEIGHT, bits, exponent)]


def quantised_layer(seed: int, rows: int, groups: int, size: int, greatest: float) -> tuple[SelfCompressed, Tensor]:
    """A layer with other bits and exponents than those it starts from, and its weight."""
    torch.manual_seed(seed)
    weight = torch.randn(rows, groups * size)
    layer = SelfCompressed(weight, 4.0, size)
    with torch.no_grad():
        layer.bits.uniform_(0, greatest)
        layer.exponent.add_(torch.randn_like(layer.exponent) / 3)
    return layer, weight


def paid(objective: SelfCompression) -> float:
    return torch.as_tensor(objective.penalty()).item()


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_gradients_of_weights_bits_and_exponents(
    monkeypatch: pytest.MonkeyPatch, grouping: tuple[list[list[float]], list[list[float]]]
) -> None:
    """Without rounding, they are those of finite differences, for clipped and for unclipped weights."""
    monkeypatch.setattr(selfcompression, "round_in_place", lambda x: x)
    inputs = inputs_of(grouping)
    size = WEIGHT.size(1) // inputs[1].size(1)
    step, half = (2 ** part.detach().repeat_interleave(size, dim=1) for part in (inputs[2], inputs[1] - 1))
    clipped = (WEIGHT / step).abs() > half
    assert 0 < clipped.sum() < clipped.numel()
    assert torch.equal(quantise(*inputs), unrounded(*inputs))
    assert torch.autograd.gradcheck(quantise, inputs)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_rounding_is_straight_through(grouping: tuple[list[list[float]], list[list[float]]]) -> None:
    """d/dx and d/db are those of the unrounded form; d/de has ln 2 times what rounding moved each weight by besides."""
    inputs = inputs_of(grouping)
    rounded = torch.autograd.grad(quantise(*inputs).sum(), inputs)
    smooth = torch.autograd.grad(unrounded(*inputs).sum(), inputs)
    moved = (quantise(*inputs) - unrounded(*inputs)).unflatten(1, (inputs[1].size(1), -1)).sum(2) * math.log(2)
    assert moved.abs().min() > 0.01
    torch.testing.assert_close(rounded[:2], smooth[:2])
    torch.testing.assert_close(rounded[2], smooth[2] + moved)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), groups=st.integers(1, 3), size=st.integers(1, 5))
def test_a_block_is_quantised_as_if_it_were_alone(seed: int, rows: int, groups: int, size: int) -> None:
    layer, weight = quantised_layer(seed, rows, groups, size, greatest=6.0)
    alone = [
        quantise(part, layer.bits[:, [number]], layer.exponent[:, [number]])
        for number, part in enumerate(weight.split(size, dim=1))
    ]
    torch.testing.assert_close(quantise(weight, layer.bits, layer.exponent), torch.cat(alone, dim=1))


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), groups=st.integers(1, 3), size=st.integers(1, 5))
def test_a_code_is_what_the_layer_computes_with(seed: int, rows: int, groups: int, size: int) -> None:
    layer, weight = quantised_layer(seed, rows, groups, size, greatest=7.5)
    code = layer.code(weight)
    assert (code.levels.dtype, code.exponents.dtype, code.bits.dtype) == (torch.int8, torch.float16, torch.float16)
    assert code.exponents.shape == code.bits.shape == (rows, groups)
    torch.testing.assert_close(code.weight(), layer(weight).detach(), rtol=1e-6, atol=0)
    # The exponent that is trained is finer by at most half the spacing of float16, 2^-10 of it.
    step = 2 ** layer.exponent.detach().repeat_interleave(size, dim=1)
    drift = (code.weight() / (code.levels * step)).log2().abs()[code.levels != 0]
    assert (drift <= layer.exponent.abs().max() * 2**-11 + 1e-5).all()


def test_the_float16_exponent_passes_its_gradient_on() -> None:
    layer, weight = quantised_layer(0, rows=2, groups=1, size=6, greatest=4.0)
    layer(weight).square().sum().backward()
    exponent = layer.exponent.detach().half().float().requires_grad_()
    (expected,) = torch.autograd.grad(quantise(weight, layer.bits.detach(), exponent).square().sum(), exponent)
    assert expected.abs().max() > 0
    torch.testing.assert_close(layer.exponent.grad, expected)


def test_more_than_eight_bits_have_no_code() -> None:
    weight = torch.linspace(-1, 1, 5)[None]
    assert SelfCompressed(weight, 8.0).code(weight).levels.tolist() == [[-128, -64, 0, 64, 127]]
    with pytest.raises(ModelError, match=r"weights from -256 to 255 steps, more than 8 bits hold\. .*larger gamma"):
        SelfCompressed(weight, 9.0).code(weight)


@pytest.mark.parametrize(
    ("bits", "levels"), [(0.0, {0}), (1.0, {-1, 0}), (2.0, {-2, -1, 0, 1}), (3.0, set(range(-4, 4)))]
)
def test_whole_bits_are_that_many_levels(bits: float, levels: set[int]) -> None:
    weight = torch.linspace(-9, 9, 181)[None]
    assert set(quantise(weight, torch.tensor([[bits]]), torch.tensor([[0.0]]))[0].int().tolist()) == levels


def test_a_dead_channel_can_come_back() -> None:
    bits = torch.zeros(1, 1, requires_grad=True)
    weight = torch.tensor([[0.3, 0.4]])
    loss = (quantise(weight, bits, torch.tensor([[0.0]])) - 1).square().sum()  # wants 1, has 0
    assert loss.item() == 2
    loss.backward()  # type: ignore[no-untyped-call]
    assert bits.grad is not None
    assert bits.grad.item() < 0


def test_the_penalty_is_bits_a_weight(tiny: GPTConfig) -> None:
    model = GPT(tiny)
    compression = SelfCompression(model, CompressionRecipe(gamma=2.0, target_bits=1.0, initial_bits=4.0))
    assert compression.learned_bits().item() == pytest.approx(4.0)
    with torch.no_grad():
        compression.layers["blocks.0.ffn.out"].bits.zero_()  # a third of the weights of one of two blocks
    assert compression.learned_bits().item() == pytest.approx(4.0 * (1 - 1 / 6))
    assert paid(compression) == pytest.approx(8.0 * (1 - 1 / 6))
    assert list(compression.layers) == list(compression.codes(model)) == LAYERS


def test_blocks_have_bits_of_their_own(tiny: GPTConfig) -> None:
    model = GPT(tiny)
    compression = SelfCompression(model, CompressionRecipe(gamma=1.0, target_bits=1.0, block=8))
    assert compression.layers["blocks.0.ffn.fc"].bits.shape == (64, 2)
    assert compression.layers["blocks.1.ffn.out"].exponent.shape == (16, 8)
    with torch.no_grad():
        compression.layers["blocks.0.ffn.out"].bits[:, :2] = 0  # a quarter of a sixth of the weights
    assert compression.learned_bits().item() == pytest.approx(4.0 * (1 - 1 / 24))
    levels = compression.codes(model)["blocks.0.ffn.out"].levels
    assert levels[:, :16].eq(0).all()
    assert levels[:, 16:].ne(0).any(dim=1).all()
    with pytest.raises(UsageError, match=r"^Blocks of 12 columns do not divide the 16 inputs of blocks\.0\.attention"):
        SelfCompression(GPT(tiny), CompressionRecipe(gamma=1.0, target_bits=1.0, block=12))


@given(seed=st.integers(0, 10_000), bits=st.floats(0, 8), block=st.sampled_from([None, 8]))
def test_prices_change_what_is_paid_and_nothing_else(seed: int, bits: float, block: int | None) -> None:
    config = GPTConfig(vocabulary_size=5, context=4, layers=1, heads=2, width=16)
    asked = CompressionRecipe(gamma=1.0, target_bits=1.0, block=block)
    plain = SelfCompression(GPT(config), asked)
    priced = SelfCompression(GPT(config), replace(asked, prices=PRICES))
    by_size = SelfCompression(GPT(config), replace(asked, prices={"qkv": 16, "proj": 16, "fc": 16, "out": 64}))
    for objective in (plain, priced, by_size):
        for layer in objective.layers.values():
            layer.bits.data.fill_(bits)
    assert paid(priced) == pytest.approx(paid(plain), abs=1e-5)  # equal bits: any prices
    torch.manual_seed(seed)
    for name, layer in plain.layers.items():
        layer.bits.data.uniform_(0, 8)
        for objective in (priced, by_size):
            objective.layers[name].bits.data.copy_(layer.bits)
    assert paid(by_size) == pytest.approx(paid(plain), abs=1e-5)  # any bits: equal prices
    assert priced.learned_bits().item() == pytest.approx(plain.learned_bits().item(), abs=1e-5)


def test_a_channel_is_paid_by_its_price(tiny: GPTConfig) -> None:
    compression = SelfCompression(GPT(tiny), CompressionRecipe(gamma=1.0, target_bits=1.0, prices=PRICES))
    torch.as_tensor(compression.penalty()).backward()  # type: ignore[no-untyped-call]
    gradients = {name: layer.bits.grad for name, layer in compression.layers.items()}
    total, weights = 2 * (48 * 10 + 16 * 20 + 64 * 30 + 16 * 40), 2 * (48 * 16 + 16 * 16 + 64 * 16 + 16 * 64)
    for name in LAYERS:
        kind = name.rpartition(".")[2]
        paid = PRICES[kind] / total / 2 + {"out": 64}.get(kind, 16) / weights / 2
        torch.testing.assert_close(gradients[name], torch.full_like(compression.layers[name].bits, paid))


def test_bits_stay_above_zero_and_freeze_at_the_target(tiny: GPTConfig) -> None:
    model = GPT(tiny)
    compression = SelfCompression(model, CompressionRecipe(gamma=1.0, target_bits=1.5))
    for layer in compression.layers.values():
        layer.bits.data.fill_(2.0)
    compression.after_update(0)
    assert compression.frozen_after is None
    for layer in compression.layers.values():
        layer.bits.data[::2] = -1.0
    compression.after_update(1)
    assert min(layer.bits.min().item() for layer in compression.layers.values()) == 0.0
    assert compression.frozen_after == 1
    assert compression.penalty() == 0.0
    assert not any(layer.bits.requires_grad for layer in compression.layers.values())


def test_a_restored_run_is_frozen_where_it_was(tiny: GPTConfig) -> None:
    asked = CompressionRecipe(gamma=1.0, target_bits=5.0)
    first, second = SelfCompression(GPT(tiny), asked), SelfCompression(GPT(tiny), asked)
    second.restore(first.state())
    assert second.state() == {"frozen_after": None}
    first.after_update(7)
    second.restore(first.state())
    assert second.state() == {"frozen_after": 7}
    assert not any(layer.bits.requires_grad for layer in second.layers.values())


def test_a_checkpoint_knows_the_options_that_are_used() -> None:
    """Options that came later are absent where they are not used: runs from before them go on."""
    asked = CompressionRecipe(gamma=1.0, target_bits=1.0)
    config = GPTConfig(vocabulary_size=5, context=4, layers=1, heads=2, width=16)
    rates = {"initial_bits": 4.0, "bits_rate": 0.05, "exponent_rate": 0.04}
    plain = {"gamma": 1.0, "target_bits": 1.0, **rates}
    assert SelfCompression(GPT(config), asked).description() == plain
    assert SelfCompression(GPT(config), replace(asked, block=4)).description() == {**plain, "block": 4}
    assert SelfCompression(GPT(config), replace(asked, prices=PRICES)).description() == {**plain, "prices": PRICES}


def test_figures_of_a_layer() -> None:
    levels = torch.tensor([[0, 0, 0, 0], [1, -1, 1, -1], [0, 0, 1, 2], [3, 1, 2, 0]], dtype=torch.int8)
    bits = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 2.5], [2.0, 2.0]]).half()
    found = report_layer("x", Code(levels, torch.zeros(4, 2).half(), bits))
    assert (found.layer, found.weights) == ("x", 16)
    assert found.learned_bits == pytest.approx(4.5 / 4)
    assert found.stored_bits == pytest.approx((0 + 1 + 2 + 2) / 4)
    assert found.entropy_bits == pytest.approx((0 + 1 + 1.5 + 2) / 4)
    assert found.zero_weights == pytest.approx(7 / 16)
    assert found.dead_rows == pytest.approx(1 / 4)
    small = replace(found, weights=8, learned_bits=3.0)
    assert bits_per_weight([found, small])[0] == pytest.approx((16 * 4.5 / 4 + 8 * 3.0) / 24)


def test_a_text_with_little_in_it_loses_bits_and_no_loss(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT(tiny)
    plain = train(model, toy, TrainingRecipe(steps=200, batch=8, seed=1, rate=5e-3, muon_rate=0.02), tmp_path / "plain")
    asked = CompressionRecipe(gamma=0.3, target_bits=1.5, bits_rate=0.1, exponent_rate=0.08)
    compression = SelfCompression(model, asked)
    recipe = TrainingRecipe(steps=160, batch=8, seed=2, rate=3e-3, hold=0.5)
    compressed = train(model, toy, recipe, tmp_path / "compressed", compression)
    layers = report(compression.codes(model))
    learned, stored, entropy = bits_per_weight(layers)
    assert compression.frozen_after is not None
    assert learned <= 1.5
    assert entropy <= stored <= 2.0
    assert sum(layer.dead_rows for layer in layers) > 0.5
    assert compressed.validation_loss < plain.validation_loss + 0.02 < 0.3
