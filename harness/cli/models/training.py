"""What `harness models train` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from harness.errors import UsageError
from harness.folders import cache_folder
from harness.models.recipe import Recipe, TrainingRecipe
from harness.models.train.loop import fast_bfloat16
from harness.models.zoo.recipes import packaged
from harness.models.zoo.train_recipe import make
from harness.report.machine import dump_json


def train(
    name: str,
    data: Path | None,
    output: Path | None,
    resume: bool,
    seed: int | None,
    float32: bool,
    processes: int,
    threads: int,
    as_json: bool,
) -> None:
    """Train model NAME by its recipe in zoo.toml; stopped with Ctrl-C, it can go on from its last checkpoint."""
    if processes > 1 and threads > 1:
        raise UsageError("Several processes have one thread each.", "Give --processes or --threads, not both.")
    torch.set_num_threads(threads)
    zoo = packaged()
    recipe = zoo.trained(name)
    if recipe.training is not None:
        changed: dict[str, Any] = {} if seed is None else {"seed": seed}
        changed |= {"bfloat16": False} if float32 else {}
        recipe = replace(recipe, training=replace(recipe.training, **changed))
    if recipe.training is not None and not fast_bfloat16():
        _say_what_is_slow(recipe.name, recipe.training)
    folder = output or cache_folder() / "training" / recipe.name
    try:
        record = make(zoo, recipe, folder, data, fresh=not resume, processes=processes)
    except KeyboardInterrupt:
        click.echo(f"Stopped. The same command goes on from the last checkpoint in {folder}.", err=True)
        click.get_current_context().exit(130)
    if as_json:
        figures = {"validation_loss": record.validation_loss, "bits_stored": record.bits_stored}
        click.echo(
            dump_json("training", {"folder": str(folder), "weights_sha256": record.weights_sha256, **figures}), nl=False
        )
    else:
        click.echo(f"{recipe.name}: {record.validation_loss:.4f} nats per token over the validation split.")
        if isinstance(recipe, Recipe):
            click.echo(f"Export it with: harness models build {recipe.name} --weights {folder}")


def _say_what_is_slow(name: str, training: TrainingRecipe) -> None:
    """What of a recipe takes long on a processor without instructions for bfloat16."""
    if training.bfloat16:
        click.echo(
            f"The recipe of {name} computes in bfloat16, for which this processor has no instructions: products take "
            "about seven times as long as in float32. --float32 trains in float32, to slightly other weights.",
            err=True,
        )
    if training.muon_rate:
        click.echo(
            f"The recipe of {name} trains with Muon, which torch computes in bfloat16 in any case: expect some seconds "
            "a step. A processor with AVX-512 or AMX trains it many times as fast.",
            err=True,
        )
