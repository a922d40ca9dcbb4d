from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from harness.models.compress.shrinking import shrink
from harness.models.gpt.network import GPT, Attention, Block, BlockShape, FeedForward, GPTConfig

Seeded = Callable[..., GPT]
CONFIG = GPTConfig(vocabulary_size=11, context=8, layers=2, heads=3, width=12)
TOKENS = torch.arange(16).view(2, 8) * 7 % 11


def parts(model: GPT, number: int = 0) -> tuple[Attention, FeedForward]:
    block = cast(Block, model.blocks[number])
    assert block.attention is not None
    assert block.ffn is not None
    return block.attention, block.ffn


DEAD = ("head", "scores of a head", "attention", "feed-forward", "block", "everything")


def kill(model: GPT, name: str) -> None:
    """Set the weights of one part to zero, of block 1 or of head 1 in block 0."""
    attention, ffn = parts(model, 0 if "head" in name else 1)
    if name == "head":
        attention.qkv.weight.view(3, 3, 4, 12)[:, 1] = 0
    elif name == "scores of a head":
        attention.qkv.weight.view(3, 3, 4, 12)[:2, 2] = 0
    elif name == "everything":
        for weight in model.blocks.parameters():
            weight.mul_(weight.dim() == 1)
    if name in ("attention", "block"):
        attention.proj.weight.zero_()
    if name in ("feed-forward", "block"):
        ffn.out.weight.zero_()


def assert_same(model: GPT, small: GPT) -> None:
    with torch.no_grad():
        expected = model(TOKENS)
        assert expected.std() > 0.1
        torch.testing.assert_close(small(TOKENS), expected, atol=1e-5, rtol=1e-5)


@given(
    seed=st.integers(0, 10_000),
    rows=st.floats(0, 1),
    columns=st.floats(0, 1),
    activation=st.sampled_from(["gelu", "relu"]),
    dead=st.sets(st.sampled_from(DEAD)),
)
@example(seed=0, rows=1.0, columns=0.0, activation="gelu", dead=set())
@example(seed=0, rows=0.0, columns=0.0, activation="gelu", dead=set())
@example(seed=0, rows=0.0, columns=0.0, activation="relu", dead=set(DEAD))
def test_a_cut_model_computes_what_the_sparse_one_does(
    seeded: Seeded, seed: int, rows: float, columns: float, activation: str, dead: set[str]
) -> None:
    """Random sparsity, and on top of it whole parts that are `dead`."""
    model = seeded(replace(CONFIG, activation=activation), seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("blocks.") and weight.dim() == 2:
                weight[torch.rand(weight.size(0)) < rows] = 0
                weight[:, torch.rand(weight.size(1)) < columns] = 0
        for name in dead:
            kill(model, name)
    small = shrink(model, multiple=1)
    for each in (small, shrink(model), shrink(model, multiple=4)):
        assert_same(model, each)
    for name, weight in small.named_parameters():
        if name.endswith(("fc.weight", "proj.weight", "out.weight")):
            assert weight.ne(0).any(1).all(), f"{name} still has a dead row"


def test_nothing_is_cut_from_a_model_that_is_all_alive(seeded: Seeded) -> None:
    model = seeded(CONFIG)
    assert shrink(model).config.shapes == CONFIG.block_shapes


def test_everything_dead_leaves_the_embeddings(seeded: Seeded) -> None:
    model = seeded(CONFIG)
    for number in (0, 1):
        attention, ffn = parts(model, number)
        attention.proj.weight.data.zero_()
        ffn.fc.weight.data.zero_()
    small = shrink(model)
    assert_same(model, small)
    assert not any(name.startswith("blocks.") for name, _ in small.named_parameters())


def test_a_head_without_values_goes(seeded: Seeded) -> None:
    model = seeded(CONFIG)
    attention, _ = parts(model)
    attention.qkv.weight.data[24 + 4 : 24 + 8] = 0  # the values of head 1
    small = shrink(model)
    assert small.config.block_shapes[0].heads == 2
    assert_same(model, small)


def test_a_head_with_values_and_no_scores_averages(seeded: Seeded) -> None:
    model = seeded(CONFIG)
    attention, _ = parts(model)
    attention.qkv.weight.data[:12] = 0  # all queries
    small = shrink(model, multiple=1)
    assert (small.config.block_shapes[0].heads, small.config.block_shapes[0].qk_dim) == (3, 1)
    assert_same(model, small)


@pytest.mark.parametrize("side", [0, 12], ids=["query", "key"])
def test_a_score_channel_goes_with_either_of_its_sides(seeded: Seeded, side: int) -> None:
    model = seeded(CONFIG)
    attention, _ = parts(model)
    attention.qkv.weight.data[[side, side + 5, side + 10]] = 0  # one channel of each head
    small = shrink(model, multiple=1)
    assert small.config.block_shapes[0].qk_dim == CONFIG.head_dim - 1
    assert_same(model, small)


def test_a_neuron_goes_with_either_of_its_sides(seeded: Seeded) -> None:
    model = seeded(CONFIG)
    _, ffn = parts(model)
    ffn.fc.weight.data[:5] = 0
    ffn.out.weight.data[:, 3:9] = 0
    ffn.out.weight.data[[0, 7]] = 0
    small = shrink(model, multiple=1)
    shape = small.config.block_shapes[0]
    assert shape.ffn == 48 - 9
    assert shape.ffn_rows == (1, 2, 3, 4, 5, 6, 8, 9, 10, 11)
    assert_same(model, small)


def test_widths_are_rounded_up_but_not_beyond_the_uncut_ones(seeded: Seeded) -> None:
    model = seeded(CONFIG)
    attention, ffn = parts(model)
    attention.qkv.weight.data[[0, 24, 28, 32]] = 0  # a query channel of head 0, a value channel of every head
    ffn.fc.weight.data[:17] = 0
    assert shrink(model, multiple=1).config.block_shapes[0] == BlockShape(3, 4, 3, 48 - 17)
    assert shrink(model).config.block_shapes[0] == BlockShape(3, 4, 4, 48 - 16)
    assert shrink(model, multiple=8).config.block_shapes[0] == BlockShape(3, 4, 4, 32)
    assert_same(model, shrink(model, multiple=8))


def test_a_model_is_cut_once(seeded: Seeded) -> None:
    with pytest.raises(ValueError, match="cut already"):
        shrink(shrink(seeded(CONFIG)))
