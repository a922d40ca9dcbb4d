from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from harness.models.gpt.network import GPT, BlockShape, GPTConfig


def test_an_untrained_model_knows_nothing(tiny: GPTConfig) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(tiny.vocabulary_size, (8, tiny.context + 1))
    logits = GPT(tiny)(tokens[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()
    assert loss == pytest.approx(math.log(tiny.vocabulary_size), abs=0.1)


def test_a_token_sees_what_came_before_it_and_nothing_after(tiny: GPTConfig) -> None:
    torch.manual_seed(0)
    model = GPT(tiny).eval()
    tokens = torch.zeros(1, tiny.context, dtype=torch.int64)
    changed = tokens.clone()
    changed[0, 7] = 1
    difference = (model(tokens) - model(changed)).abs().amax(dim=2)[0]
    assert difference[:7].max() == 0
    assert difference[7:].min() > 0


def test_every_position_counts(tiny: GPTConfig) -> None:
    torch.manual_seed(0)
    logits = GPT(tiny).eval()(torch.zeros(1, tiny.context, dtype=torch.int64))[0]
    assert torch.pdist(logits).min() > 0


def test_parameters_are_those_of_nanogpt_with_a_tied_head() -> None:
    config = GPTConfig(vocabulary_size=65, context=64, layers=4, heads=4, width=128)
    expected = (65 + 64) * 128 + 4 * (12 * 128 * 128 + 2 * 128) + 128
    assert sum(parameter.numel() for parameter in GPT(config).parameters()) == expected


def test_rows_that_are_not_written_leave_the_residual_stream_alone(tiny: GPTConfig) -> None:
    shape = BlockShape(heads=1, qk_dim=3, v_dim=5, ffn=7, attention_rows=(2, 9), ffn_rows=(4,))
    torch.manual_seed(0)
    block = GPT(replace(tiny, shapes=(shape, shape))).blocks[0]
    x = torch.randn(2, tiny.context, tiny.width)
    changed = (block(x, torch.zeros(tiny.context, tiny.context)) - x).abs().amax(dim=(0, 1)).nonzero().flatten()
    assert changed.tolist() == [2, 4, 9]


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"activation": "swish"}, {"shapes": ()}])
def test_impossible_dimensions_are_refused(tiny: GPTConfig, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(tiny, **wrong)  # type: ignore[arg-type]
