from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import UsageError
from harness.models.compress.distillation import Distillation
from harness.models.compress.fixed_bits import FixedBits, TernaryCode
from harness.models.compress.methods import Together, objective
from harness.models.compress.objective import Objective
from harness.models.compress.selfcompression import SelfCompression
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.recipe import CompressionRecipe, DistillationRecipe, FixedRecipe, Recipe, TrainingRecipe
from harness.models.train.data import Corpus
from harness.models.train.loop import run_digest, train

PRICES = {"qkv": 10.0, "proj": 20.0, "fc": 30.0, "out": 40.0}
COMPRESSION = CompressionRecipe(gamma=5.0, target_bits=3.75, block=8, prices=PRICES)
DISTILLATION = DistillationRecipe(weight=0.5, temperature=2.0)
TRAINING = TrainingRecipe(steps=12, batch=4, seed=3, rate=3e-3, checkpoint_every=4)


def recipe(config: GPTConfig, method: str, **options: Any) -> Recipe:
    return Recipe(
        name="x", method=method, precision="fp32", data_sha256="0", architecture=config, training=TRAINING, **options
    )


def asked(config: GPTConfig) -> dict[str, Recipe]:
    """Recipes that must not share a checkpoint: each differs from another in one option."""
    plain = CompressionRecipe(gamma=5.0, target_bits=3.75)
    return {
        "baseline": recipe(config, "baseline"),
        "distilled": recipe(config, "baseline", distillation=DISTILLATION),
        "hotter": recipe(config, "baseline", distillation=replace(DISTILLATION, temperature=3.0)),
        "self-compression": recipe(config, "self-compression", compression=plain),
        "blocks": recipe(config, "self-compression", compression=replace(plain, block=8)),
        "priced": recipe(config, "self-compression", compression=replace(plain, prices=PRICES)),
        "all": recipe(config, "self-compression", compression=COMPRESSION, distillation=DISTILLATION),
        "ternary": recipe(config, "ternary"),
        "ternary, distilled": recipe(config, "ternary", distillation=DISTILLATION),
        "2 bits": recipe(config, "fixed-bits", fixed=FixedRecipe(bits=2)),
        "4 bits": recipe(config, "fixed-bits", fixed=FixedRecipe(bits=4)),
    }


def test_a_recipe_gets_what_it_asks_for(tiny: GPTConfig) -> None:
    kinds = {"baseline": Objective, "self-compression": SelfCompression, "ternary": TernaryCode, "2 bits": FixedBits}
    for name, kind in kinds.items():
        model = GPT(tiny)
        found = objective(asked(tiny)[name], model, GPT(tiny))
        assert type(found) is kind
        assert len(found.codes(model)) == (0 if name == "baseline" else 8)
    both = objective(asked(tiny)["all"], GPT(tiny), GPT(tiny))
    assert isinstance(both, Together)
    assert [type(part) for part in both.parts] == [SelfCompression, Distillation]


def test_checkpoints_belong_to_their_options(tiny: GPTConfig, toy: Corpus) -> None:
    found = {name: objective(r, GPT(tiny), GPT(tiny)) for name, r in asked(tiny).items()}
    assert found["baseline"].description() == {}
    digests = {run_digest(GPT(tiny), TRAINING, method, toy) for method in found.values()}
    assert len(digests) == len(found)


def test_two_objectives_add_up(tiny: GPTConfig) -> None:
    model, teacher = GPT(tiny), GPT(tiny)
    both = objective(asked(tiny)["all"], model, teacher)
    assert isinstance(both, Together)
    compression, distillation = both.parts
    tokens = torch.randint(tiny.vocabulary_size, (2, tiny.context))
    logits = model(tokens)
    assert torch.as_tensor(both.penalty()).item() == pytest.approx(20.0)  # gamma 5, 4 bits per weight
    assert torch.as_tensor(both.output_loss(tokens, logits)).item() > 0
    assert both.output_loss(tokens, logits) == distillation.output_loss(tokens, logits)
    assert both.figures() == compression.figures()
    assert both.description() == {**compression.description(), **distillation.description()}
    assert [group["lr"] for group in both.parameter_groups()] == [0.05, 0.04]
    assert both.codes(model).keys() == compression.codes(model).keys() != set()
    assert both.state() == {"frozen_after": None}
    both.restore({"frozen_after": 3})
    assert both.state() == compression.state() == {"frozen_after": 3}
    assert both.penalty() == 0


class Stopped(Together):
    """Stops a run as Ctrl-C would, after the update of step 9."""

    def after_update(self, step: int) -> None:
        super().after_update(step)
        if step == 9:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["all", "ternary, distilled"])
def test_a_resumed_run_ends_with_the_same_weights(tiny: GPTConfig, toy: Corpus, tmp_path: Path, name: str) -> None:
    """With all options at once, and bits frozen before the checkpoint that the run goes on from."""

    def run(folder: Path, stop: bool = False) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        teacher, model = GPT(tiny), GPT(replace(tiny, dropout=0.1))
        method = objective(asked(tiny)[name], model, teacher)
        assert isinstance(method, Together)
        if stop:
            with pytest.raises(KeyboardInterrupt):
                train(model, toy, TRAINING, folder, Stopped(method.parts))
        else:
            train(model, toy, TRAINING, folder, method)
            assert method.state().get("frozen_after", 6) < 8
        return model.state_dict()

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop=True)
    resumed = run(tmp_path / "parts")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_distillation_needs_a_parent(tiny: GPTConfig) -> None:
    with pytest.raises(UsageError, match="x is to be distilled, but has no parent to learn from"):
        objective(asked(tiny)["distilled"], GPT(tiny), None)
