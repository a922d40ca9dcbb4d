"""The deployed form against the reference, in eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from harness.models.export import deployment
from harness.models.export.deployment import AllLogits, Body, Generator, linear, products
from harness.models.export.quantised_linear import rounded
from harness.models.gpt.network import GPT, BlockShape, GPTConfig

SHAPES = (
    BlockShape(heads=1, qk_dim=3, v_dim=5, ffn=7, attention_rows=(2, 9), ffn_rows=(4,)),
    BlockShape(heads=0, qk_dim=0, v_dim=0, ffn=3),
)


@pytest.fixture(params=[None, SHAPES], ids=["whole", "cut"])
def model(request: pytest.FixtureRequest, tiny: GPTConfig, seeded: Callable[..., GPT]) -> GPT:
    return seeded(replace(tiny, shapes=request.param))


def tokens_of(model: GPT, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocabulary_size, (1, model.config.context), generator=generator)


@torch.no_grad()
def test_all_logits(model: GPT) -> None:
    tokens = tokens_of(model, 0)
    torch.testing.assert_close(AllLogits(Body(model))(tokens), model(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_prompt_at_once_its_parts_and_single_tokens_agree(model: GPT) -> None:
    generator = Generator(Body(model))
    for seed, parts in enumerate([[15], [1] * 16, [5, 1, 1, 9], [3, 13]]):  # each starts anew on a full cache
        tokens, start = tokens_of(model, seed), 0
        for part in parts:
            found = generator(tokens[:, start : start + part], torch.tensor([start]))
            start += part
            torch.testing.assert_close(found, model(tokens)[:, start - 1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_of_the_caches_only_the_new_places_are_written(model: GPT) -> None:
    generator = Generator(Body(model))
    caches = {
        name: cache.fill_(7.0) for name, cache in generator.named_buffers() if name.startswith(("keys", "values"))
    }
    assert len(caches) == 2 * sum(shape.heads > 0 for shape in model.config.block_shapes)
    generator(tokens_of(model, 0)[:, :3], torch.tensor([5]))
    for name, cache in caches.items():
        places = cache.ne(7.0).any(0).any(0 if name.startswith("keys") else 1)
        assert places.nonzero().flatten().tolist() == [5, 6, 7]


@torch.no_grad()
@pytest.mark.parametrize(("precision", "allowed"), [("int8", 0.5), ("int4-channel", 3.0), ("int4-group32", 3.0)])
def test_quantised_forms_stay_near(model: GPT, precision: str, allowed: float) -> None:
    tokens = tokens_of(model, 0)
    expected = model(tokens)
    difference = (AllLogits(Body(model, precision))(tokens) - expected).abs().max() / expected.std()
    assert 0 < difference < allowed


def test_layers_of_one_input_round_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, x = [linear(torch.randn(4, 8), "int8") for _ in range(3)], torch.randn(1, 3, 8)
    expected = [layer(x) for layer in layers]
    calls: list[torch.Tensor] = []
    monkeypatch.setattr(deployment, "rounded", lambda x: calls.append(x) or rounded(x))
    for found, alone in zip(products(x, *layers), expected, strict=True):
        assert torch.equal(found, alone)
    assert len(calls) == 1


@torch.no_grad()
def test_behind_the_last_cache_only_the_last_token_is_computed(model: GPT) -> None:
    body, seen = Body(model), []
    for block in body.blocks:
        block.ffn.register_forward_pre_hook(lambda _, given: seen.append(given[0].size(1)))
    Generator(body)(tokens_of(model, 0)[:, :5], torch.tensor([0]))
    assert seen == [5] * (len(body.blocks) - 1) + [1]
