"""What `harness models train` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from harness.errors import UsageError
from harness.folders import cache_folder
from harness.models.recipe import Recipe
from harness.models.zoo.recipes import packaged
from harness.models.zoo.train_recipe import make
from harness.report.machine import dump_json


def train(
    name: str,
    data: Path | None,
    output: Path | None,
    resume: bool,
    seed: int | None,
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
    if seed is not None and recipe.training is not None:
        recipe = replace(recipe, training=replace(recipe.training, seed=seed))
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
