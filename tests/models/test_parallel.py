"""Data-parallel training with real processes: what two compute is what one computes."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from harness.errors import ModelError, UsageError
from harness.models.compress.objective import Objective
from harness.models.gpt.network import GPT, GPTConfig
from harness.models.recipe import TrainingRecipe
from harness.models.train import parallel
from harness.models.train.data import Corpus
from harness.models.train.loop import LOG, train

RECIPE = TrainingRecipe(steps=6, batch=4, seed=3, rate=3e-3, muon_rate=0.02, checkpoint_every=3)


class Interrupted(Objective):
    """Stops the process it is in as Ctrl-C would; the other one waits for it."""

    def after_update(self, step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt


def run(
    config: GPTConfig,
    corpus: Corpus,
    folder: Path,
    count: int,
    objective: Objective | None = None,
    recipe: TrainingRecipe = RECIPE,
) -> GPT:
    """Train with `count` processes and return the model."""
    torch.manual_seed(0)
    model = GPT(config)
    # A tensor that is handed to another process is shared with it, so the other gets a copy.
    with parallel.processes(count, train, (copy.deepcopy(model), corpus, recipe, folder)):
        train(model, corpus, recipe, folder, objective)
    return model


@pytest.mark.parametrize(("muon_rate", "tolerance"), [(0.0, 1e-4), (0.02, 5e-3)])  # Muon computes in bfloat16
def test_two_processes_compute_what_one_does(
    tiny: GPTConfig, toy: Corpus, tmp_path: Path, muon_rate: float, tolerance: float
) -> None:
    recipe = replace(RECIPE, muon_rate=muon_rate)
    one, two = (run(tiny, toy, tmp_path / str(n), n, recipe=recipe).state_dict() for n in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0.0, atol=tolerance)
    logs = [pq.read_table(tmp_path / str(count) / LOG).to_pylist() for count in (1, 2)]
    for key in ("loss", "validation_loss"):
        assert [row[key] for row in logs[0]] == pytest.approx([row[key] for row in logs[1]], rel=1e-3)
    assert [row["step"] for row in logs[1]] == [3, 6]


def test_two_processes_resume_to_the_same_bits(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    dropping = replace(tiny, dropout=0.2)
    whole = run(dropping, toy, tmp_path / "whole", 2).state_dict()
    with pytest.raises(KeyboardInterrupt):
        run(dropping, toy, tmp_path / "parts", 2, Interrupted())
    resumed = run(dropping, toy, tmp_path / "parts", 2).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_process_that_dies_ends_the_run_with_a_sentence(tiny: GPTConfig, toy: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="training process died"), parallel.processes(2, os._exit, (9,)):
        train(GPT(tiny), toy, RECIPE, tmp_path)


def test_a_batch_that_cannot_be_shared_is_refused(
    tiny: GPTConfig, toy: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "size", lambda: 3)
    with pytest.raises(UsageError, match="4 cannot be shared evenly among 3"):
        train(GPT(tiny), toy, RECIPE, tmp_path)
