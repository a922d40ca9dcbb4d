"""The deployed form against the reference, in eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from harness.models.deployment import AllLogits, Body, Generator
from harness.models.gpt import GPT, BlockShape, GPTConfig

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
