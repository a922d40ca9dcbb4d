"""What is cut for each kind of layer, and that the programs are of the kind that compressed models have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.models.compress.selfcompression import block_linears
from harness.models.compress.shrinking import shrink
from harness.models.export.quantised_linear import integers
from harness.models.gpt.network import GPT, BlockShape, GPTConfig
from harness.models.recipe import Recipe, TrainingRecipe
from harness.models.zoo import pricing
from harness.models.zoo.pricing import deployed_weights, random_model, remove_half, write_programs

CONFIG = GPTConfig(vocabulary_size=11, context=8, layers=2, heads=2, width=16)
RECIPE = Recipe(
    name="toy",
    method="baseline",
    precision="fp32",
    data_sha256="",
    architecture=CONFIG,
    training=TrainingRecipe(steps=1, batch=1, seed=0, rate=1.0),
)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[str, GPT]:
    """The models that would be exported, by the name of their file."""
    found: dict[str, GPT] = {}

    def export(model: GPT, path: Path, precision: str) -> None:
        path.write_text(precision)
        found[path.name] = model

    monkeypatch.setattr(pricing, "export_pte", export)
    return found


def test_weights_are_stored_as_those_of_a_self_compressed_model() -> None:
    for _, linear in block_linears(random_model(CONFIG)):
        stored = integers(linear.weight, "int4-channel")
        assert stored.bits == 4
        assert stored.step.shape == (linear.out_features,)  # a step per channel, none for groups of 32 inputs
        assert stored.levels.ne(0).any(1).all()


def test_the_model_is_the_same_each_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = random_model(CONFIG).state_dict(), random_model(CONFIG).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


EVEN = tuple(range(8, 16))  # the residual channels that are still written


@pytest.mark.parametrize(
    ("kind", "removed", "shape"),
    [
        ("qkv", 2 * 2 * 3 * 4, BlockShape(2, 4, 4, 64)),
        ("proj", 2 * 8, BlockShape(2, 8, 8, 64, attention_rows=EVEN)),
        ("fc", 2 * 32, BlockShape(2, 8, 8, 32)),
        ("out", 2 * 8, BlockShape(2, 8, 8, 64, ffn_rows=EVEN)),
    ],
)
def test_half_of_one_kind_goes_from_every_block_and_nothing_else(kind: str, removed: int, shape: BlockShape) -> None:
    model = random_model(CONFIG)
    assert remove_half(model, kind) == removed
    assert shrink(model).config.shapes == (shape, shape)


def test_the_whole_program_comes_first_then_one_a_kind_that_makes_it_smaller(
    exported: dict[str, GPT], tmp_path: Path
) -> None:
    programs = list(write_programs(RECIPE, "int8", tmp_path))
    # A residual channel that is not written is written as zero (see `deployment`): no program for `proj` and `out`.
    assert [(program.kind, program.channels) for program in programs] == [(None, 0), ("qkv", 48), ("fc", 64)]
    names = ["random-toy-int8-whole.pte", "random-toy-int8-half-qkv.pte", "random-toy-int8-half-fc.pte"]
    assert [program.path.name for program in programs] == list(exported) == names
    assert all(program.path.read_text() == "int8" for program in programs)
    assert exported[names[0]].config.shapes == CONFIG.block_shapes
    assert [deployed_weights(model) for model in exported.values()] == [
        2 * (12 * 16 * 16 + 32),  # with the two norms
        2 * (12 * 16 * 16 + 32 - (24 + 8) * 16),
        2 * (12 * 16 * 16 + 32 - 2 * 32 * 16),
    ]
