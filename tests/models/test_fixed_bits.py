from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.models.compress.codes import report
from harness.models.compress.fixed_bits import FixedBits, Ternary, TernaryCode, ternary
from harness.models.compress.objective import Objective
from harness.models.compress.selfcompression import block_linears
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.recipe import FixedRecipe, TrainingRecipe
from harness.models.train.data import Corpus
from harness.models.train.loop import evaluate, train

METHODS: dict[str, Callable[[GPT], Objective]] = {
    "ternary": TernaryCode,
    "2 bits": lambda model: FixedBits(model, FixedRecipe(bits=2)),
    "4 bits": lambda model: FixedBits(model, FixedRecipe(bits=4)),
}


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), columns=st.integers(1, 9), power=st.integers(-20, 20))
def test_a_ternary_code(seed: int, rows: int, columns: int, power: int) -> None:
    """Three levels with the weights' signs, the scale that fits them best, whatever the unit of the weights."""
    torch.manual_seed(seed)
    weight = torch.randn(rows, columns)
    code = ternary(weight)
    assert set(code.levels.unique().tolist()) <= {-1, 0, 1}
    assert (code.levels * weight >= 0).all()
    assert code.levels.ne(0).any(dim=1).all()
    best = (code.levels * weight).sum(1) / code.levels.abs().sum(1)
    torch.testing.assert_close(2 ** code.exponents[:, 0].float(), best, rtol=5e-3, atol=0)  # in float16, up to 2^-2.x
    scaled = ternary(weight * 2.0**power)
    assert torch.equal(scaled.levels, code.levels)
    assert (scaled.exponents - code.exponents - power).abs().max() <= 2**-6


def test_the_threshold_is_a_channels_own() -> None:
    weight = torch.tensor([[1.0, -1, 0.5, 0.5], [0.1, -0.1, 0.05, 0.05], [0, 0, 0, 0]])  # 0.7 of the mean: 0.525
    code = ternary(weight)
    assert code.levels.tolist() == [[1, -1, 0, 0], [1, -1, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(code.weight()[2], torch.zeros(4))
    assert code.exponents[0].item() == 0
    assert code.bits.unique().item() == pytest.approx(math.log2(3), abs=1e-3)
    assert torch.isfinite(code.exponents).all()


def test_ternary_weights_pass_their_gradient_on() -> None:
    weight = torch.tensor([[0.9, -0.2, 0.4], [0.1, 0.3, -0.7]], requires_grad=True)
    factors = torch.arange(6.0).view(2, 3)
    layer = Ternary()
    assert torch.equal(layer(weight), layer.code(weight).weight())
    (layer(weight) * factors).sum().backward()
    assert torch.equal(torch.as_tensor(weight.grad), factors)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_fixed_bits_use_their_range(tiny: GPTConfig, bits: int) -> None:
    torch.manual_seed(0)
    model = GPT(tiny)
    codes = FixedBits(model, FixedRecipe(bits=bits)).codes(model)
    for code in codes.values():
        assert (code.levels.min(), code.levels.max()) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert code.bits.eq(bits).all()
        assert code.levels.unique().numel() >= min(2**bits, 100)  # a layer has too few weights for all of 256
    assert all(layer.stored_bits <= bits for layer in report(codes))


@pytest.mark.parametrize("name", METHODS)
def test_codes_are_what_the_model_computes_with(tiny: GPTConfig, name: str) -> None:
    torch.manual_seed(0)
    model = GPT(tiny).eval()
    plain = GPT(tiny).eval()
    plain.load_state_dict(model.state_dict())
    codes = METHODS[name](model).codes(model)
    assert list(codes) == [layer for layer, _ in block_linears(plain)]
    with torch.no_grad():
        for layer, linear in block_linears(plain):
            linear.weight.copy_(codes[layer].weight())
    tokens = torch.randint(tiny.vocabulary_size, (2, tiny.context))
    torch.testing.assert_close(model(tokens), plain(tokens))


def test_only_weights_and_exponents_are_trained(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT(tiny)
    objective = FixedBits(model, FixedRecipe(bits=3, exponent_rate=0.05))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = TrainingRecipe(steps=3, batch=2, seed=1, rate=1e-3, muon_rate=0.02, weight_decay=0.1)
    train(model, toy, recipe, tmp_path, objective)
    kinds: dict[str, set[bool]] = {}
    for name, value in model.state_dict().items():
        kinds.setdefault(name.rpartition(".")[2], set()).add(torch.equal(value, before[name]))
    assert kinds["bits"] == {True}
    assert kinds["exponent"] == kinds["original"] == {False}


def test_a_checkpoint_knows_the_code(tiny: GPTConfig) -> None:
    asked = [
        *(method(GPT(tiny)).description() for method in METHODS.values()),
        FixedBits(GPT(tiny), FixedRecipe(bits=4, exponent_rate=0.02)).description(),
    ]
    assert asked == [
        {"levels": "ternary"},
        {"bits": 2, "exponent_rate": 0.01},
        {"bits": 4, "exponent_rate": 0.01},
        {"bits": 4, "exponent_rate": 0.02},
    ]


def test_training_makes_up_for_the_code(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    """Rounding a trained model costs loss, and training it through the code brings most of that back."""
    torch.manual_seed(0)
    parent = GPT(tiny)
    recipe = TrainingRecipe(steps=150, batch=8, seed=1, rate=5e-3, muon_rate=0.02)
    plain = train(parent, toy, recipe, tmp_path / "plain").validation_loss
    for name in ("ternary", "2 bits"):
        model = GPT(tiny)
        model.load_state_dict(parent.state_dict())
        objective = METHODS[name](model)
        rounded = evaluate(model, toy.validation)
        again = replace(recipe, steps=60, seed=2, rate=3e-3, muon_rate=0.0)
        trained = train(model, toy, again, tmp_path / name, objective).validation_loss
        assert rounded > plain + 0.1
        assert trained < plain + 0.2 * (rounded - plain)
