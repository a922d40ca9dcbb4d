"""What `harness models figures` draws."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.atomic_files import unwritable
from harness.errors import ModelError, UsageError
from harness.models.gpt.network import GPT
from harness.models.recipe import Recipe
from harness.models.train.loop import LOG
from harness.models.zoo import storage
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED, Record, read_record
from harness.report.machine import dump_json


def figures(name: str, weights: Path | None, output: Path | None, formats: str, as_json: bool) -> None:
    """Draw how compressed model NAME lost its bits, and what is left of its weights; print the files."""
    try:
        from harness.models.zoo import figures as draw
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise UsageError(
            "Figures are drawn by matplotlib, which is not installed.",
            "Install it with `pip install 'edge-harness[figures]'`.",
        ) from error

    kinds = list(dict.fromkeys(part.strip() for part in formats.split(",")))
    for kind in kinds:
        if kind not in draw.FORMATS:
            raise UsageError(f"There is no format {kind!r} of figures.", f"Choose from: {', '.join(draw.FORMATS)}.")
    recipe = packaged().find(name)
    folder = weights or PACKAGED
    model, record = storage.read(folder, recipe.name, recipe.architecture)
    if not record.layers:
        raise UsageError(
            f"{recipe.name} was not compressed, so it has no bits and no zeros to show.",
            "`harness models list` shows the method of each model.",
        )
    log, layers = _read_log(folder, record), _first_ffn_layers(model)
    drawn = {}
    if log is None:
        click.echo(
            f"Training is left out: {folder} has no log of {recipe.name} with its bits ({' or '.join(_logs(record))}).",
            err=True,
        )
    else:
        drawn["training"] = draw.training(log, _start(folder, recipe, record))
    drawn |= {"sparsity": draw.sparsity(record.layers), "histograms": draw.histograms(layers)}
    drawn["masks"] = draw.masks(layers)
    target = output or Path(f"figures-{recipe.name}")
    source = f"{recipe.name} · weights sha256 {record.weights_sha256[:12]} · torch {record.torch}"
    try:
        files = draw.write({f"{recipe.name}-{kind}": figure for kind, figure in drawn.items()}, target, kinds, source)
    except OSError as error:
        raise unwritable(target, error, "Name another folder with --output.", UsageError) from error
    if as_json:
        click.echo(dump_json("figure", {"files": [str(file) for file in files]}), nl=False)
    else:
        click.echo("\n".join(map(str, files)))


def _logs(record: Record) -> tuple[str, str]:
    """What a log may be called: beside weights that were put away, and where they were trained."""
    return f"{record.name}.{LOG}", LOG


def _read_log(folder: Path, record: Record) -> pd.DataFrame | None:
    """The log of the run that ended in these weights, None where there is none or it has no bits.

    Raises ModelError: it cannot be read, or is another run's.
    """

    path = next((folder / name for name in _logs(record) if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        log: pd.DataFrame = pq.read_table(path).to_pandas()
        if "bits" not in log:
            return None
        log = log[["step", "tokens", "loss", "bits", "validation_loss"]].astype({"validation_loss": float})
        tokens = int(log["tokens"].iloc[-1])
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is not a readable log ({error}).", "Restore it, or delete it.") from error
    if tokens != record.tokens_seen:
        raise ModelError(
            f"{path} is not the log of these weights: it ends at {tokens:,} tokens, they saw {record.tokens_seen:,}.",
            "Let the training end, or delete the log.",
        )
    return log


def _start(folder: Path, recipe: Recipe, record: Record) -> tuple[str, float] | None:
    """The name and validation loss of the weights from which the run set out, where their record is at hand."""
    for place in (folder, PACKAGED):
        parent = read_record(place, recipe.parent) if recipe.parent is not None else None
        if parent is not None and parent.weights_sha256 == record.parent_weights_sha256:
            return parent.name, parent.validation_loss
    return None


def _first_ffn_layers(model: GPT) -> dict[str, NDArray[np.float32]]:
    """The first feed-forward weights [4 W, W] of the first, the second and the last block, by title."""
    blocks = sorted({0, min(1, model.config.layers - 1), model.config.layers - 1})
    return {f"block {n}": model.get_parameter(f"blocks.{n}.ffn.fc.weight").detach().numpy() for n in blocks}
