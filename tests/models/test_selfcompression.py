from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.models import selfcompression
from harness.models.data import Corpus
from harness.models.gpt import GPT, GPTConfig
from harness.models.selfcompression import (
    CompressionRecipe,
    SelfCompression,
    bits_per_weight,
    quantise,
    report,
    report_layer,
)
from harness.models.training import TrainingRecipe, train

WEIGHT = torch.tensor([[-9.0, -1.3, 0.2, 1.1, 7.0], [0.4, -0.6, 0.1, -0.2, 0.3]], dtype=torch.float64)
BITS = torch.tensor([3.3, 2.6], dtype=torch.float64)
EXPONENT = torch.tensor([-0.4, -2.2], dtype=torch.float64)


def unrounded(weight: Tensor, bits: Tensor, exponent: Tensor) -> Tensor:
    step, half = 2 ** exponent[:, None], 2 ** (bits[:, None] - 1)
    return step * torch.maximum(torch.minimum(weight / step, half - 1), -half)


def test_gradients_of_weights_bits_and_exponents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rounding, they are those of finite differences, for clipped and for unclipped weights."""
    monkeypatch.setattr(selfcompression, "round_straight_through", lambda x: x)
    inputs = [tensor.clone().requires_grad_() for tensor in (WEIGHT, BITS, EXPONENT)]
    clipped = (WEIGHT / 2 ** EXPONENT[:, None]).abs() > 2 ** (BITS[:, None] - 1)
    assert 0 < clipped.sum() < clipped.numel()
    assert torch.equal(quantise(*inputs), unrounded(*inputs))
    assert torch.autograd.gradcheck(quantise, inputs)


def test_rounding_is_straight_through() -> None:
    """d/dx and d/db are those of the unrounded form; d/de has ln 2 times what rounding moved each weight by besides."""
    inputs = [tensor.clone().requires_grad_() for tensor in (WEIGHT, BITS, EXPONENT)]
    rounded = torch.autograd.grad(quantise(*inputs).sum(), inputs)
    smooth = torch.autograd.grad(unrounded(*inputs).sum(), inputs)
    moved = (quantise(*inputs) - unrounded(*inputs)).sum(1) * math.log(2)
    assert moved.abs().min() > 0.01
    torch.testing.assert_close(rounded[:2], smooth[:2])
    torch.testing.assert_close(rounded[2], smooth[2] + moved)


@pytest.mark.parametrize(
    ("bits", "levels"), [(0.0, {0}), (1.0, {-1, 0}), (2.0, {-2, -1, 0, 1}), (3.0, set(range(-4, 4)))]
)
def test_whole_bits_are_that_many_levels(bits: float, levels: set[int]) -> None:
    weight = torch.linspace(-9, 9, 181)[None]
    assert set(quantise(weight, torch.tensor([bits]), torch.tensor([0.0]))[0].int().tolist()) == levels


def test_a_dead_channel_can_come_back() -> None:
    bits = torch.zeros(1, requires_grad=True)
    weight = torch.tensor([[0.3, 0.4]])
    loss = (quantise(weight, bits, torch.tensor([0.0])) - 1).square().sum()  # wants 1, has 0
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
    assert torch.as_tensor(compression.penalty()).item() == pytest.approx(8.0 * (1 - 1 / 6))
    assert set(compression.layers) == {
        f"blocks.{block}.{layer}"
        for block in (0, 1)
        for layer in ("attention.qkv", "attention.proj", "ffn.fc", "ffn.out")
    }


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


def test_figures_of_a_layer() -> None:
    weight = torch.tensor([[0.0, 0, 0, 0], [1, -1, 1, -1], [0, 0, 1, 2], [3, 1, 2, 0]])
    found = report_layer("x", weight, torch.tensor([0.0, 1.0, 1.5, 2.0]))
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
    layers = report(model, compression.layers)
    learned, stored, entropy = bits_per_weight(layers)
    assert compression.frozen_after is not None
    assert learned <= 1.5
    assert entropy <= stored <= 2.0
    assert sum(layer.dead_rows for layer in layers) > 0.5
    assert compressed.validation_loss < plain.validation_loss + 0.02 < 0.3
