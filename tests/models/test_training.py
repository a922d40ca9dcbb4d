from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from harness.errors import ModelError
from harness.models.compress.objective import Objective
from harness.models.compress.selfcompression import CompressionRecipe, SelfCompression
from harness.models.gpt.network import GPT, GPTConfig
from harness.models.recipe import TrainingRecipe
from harness.models.train.checkpoint import read_safetensors
from harness.models.train.data import Corpus
from harness.models.train.loop import CHECKPOINT, LOG, train

RECIPE = TrainingRecipe(steps=12, batch=4, seed=3, rate=3e-3, muon_rate=0.02, warmup_steps=2, checkpoint_every=4)


def fresh(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    return GPT(config)


class Interrupted(Objective):
    """Stops a run as Ctrl-C would, after the update of one step."""

    def __init__(self, inner: Objective, after: int) -> None:
        self.inner, self.after = inner, after

    def __getattribute__(self, name: str) -> Any:
        if name in ("inner", "after", "after_update"):
            return object.__getattribute__(self, name)
        return getattr(self.inner, name)

    def after_update(self, step: int) -> None:
        self.inner.after_update(step)
        if step == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop_after", [5, 9])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_resumed_run_ends_with_the_same_weights(
    tiny: GPTConfig, toy: Corpus, tmp_path: Path, stop_after: int, compressed: bool
) -> None:
    def run(folder: Path, interrupt: int | None = None) -> dict[str, torch.Tensor]:
        model = fresh(replace(tiny, dropout=0.1))
        # 3.75 bits are reached, and b frozen, between the two places where the run is stopped.
        recipe = CompressionRecipe(gamma=5.0, target_bits=3.75, bits_rate=0.05)
        objective = SelfCompression(model, recipe) if compressed else Objective()
        if interrupt is not None:
            with pytest.raises(KeyboardInterrupt):
                train(model, toy, RECIPE, folder, Interrupted(objective, interrupt))
        else:
            train(model, toy, RECIPE, folder, objective)
        if compressed and interrupt is None:
            assert isinstance(objective, SelfCompression)
            assert objective.frozen_after is not None
            assert 5 < objective.frozen_after < 9
        return model.state_dict()

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", interrupt=stop_after)
    resumed = run(tmp_path / "parts")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [pq.read_table(tmp_path / name / LOG).drop(["wall_s", "cpu_s"]) for name in ("whole", "parts")]
    assert logs[0].equals(logs[1])
    assert logs[0]["step"].to_pylist() == [4, 8, 10, 12]


def test_training_learns_and_the_log_says_so(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    outcome = train(fresh(tiny), toy, replace(RECIPE, steps=80, checkpoint_every=20), tmp_path)
    log = pq.read_table(tmp_path / LOG).to_pylist()
    assert outcome.validation_loss < 1.6 < log[1]["validation_loss"]
    assert [row["step"] for row in log if row["validation_loss"] is not None] == [20, 40, 60, 80]
    assert log[-1]["validation_loss"] == pytest.approx(outcome.validation_loss)
    assert log[-1]["tokens"] == outcome.tokens == 80 * 4 * tiny.context
    assert log[-1]["cpu_s"] > log[0]["cpu_s"] > 0


def test_a_diverging_run_stops_at_its_step_and_keeps_the_checkpoint(
    tiny: GPTConfig, toy: Corpus, tmp_path: Path
) -> None:
    class Poison(Objective):
        def after_update(self, step: int) -> None:
            if step == 5:
                with torch.no_grad():
                    model.token_embedding.weight.fill_(float("nan"))

    model = fresh(tiny)
    with pytest.raises(ModelError, match="step 7"):
        train(model, toy, RECIPE, tmp_path, Poison())
    tensors, metadata = read_safetensors(tmp_path / CHECKPOINT)
    assert '"step": 4' in metadata["progress"]
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_weights_that_are_not_finite_are_not_saved(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    class Poison(Objective):
        def after_update(self, step: int) -> None:
            if step == 7:
                with torch.no_grad():
                    model.position_embedding.weight[0, 0] = float("inf")

    model = fresh(tiny)
    with pytest.raises(ModelError, match=r"step 8 .*position_embedding"):
        train(model, toy, RECIPE, tmp_path, Poison())
    assert '"step": 4' in read_safetensors(tmp_path / CHECKPOINT)[1]["progress"]


def test_a_checkpoint_of_another_recipe_is_refused(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    train(fresh(tiny), toy, RECIPE, tmp_path)
    with pytest.raises(ModelError, match=r"another recipe.*--fresh"):
        train(fresh(tiny), toy, replace(RECIPE, seed=4), tmp_path)


def test_another_seed_draws_other_windows_from_the_same_start(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    losses = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        losses[name] = train(fresh(tiny), toy, replace(RECIPE, seed=seed), tmp_path / name).validation_loss
    assert losses["again"] == losses["first"] != losses["other"]


def test_the_rate_climbs_holds_and_falls() -> None:
    recipe = replace(RECIPE, steps=100, warmup_steps=9, hold=0.5)
    assert [recipe.factor(step) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert recipe.factor(75) == pytest.approx(0.5)
    assert recipe.factor(99) == pytest.approx(0.02)
    assert replace(recipe, decay="cosine").factor(75) == pytest.approx(0.5)
    assert replace(recipe, decay="cosine").factor(60) > recipe.factor(60)
