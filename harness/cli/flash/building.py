"""What `harness flash build` does."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli._waiting import waiting
from harness.errors import DataError
from harness.flash.io.layout import Dtype
from harness.models.train.data import Corpus, corpus, load_text
from harness.models.train.tokenizer import packaged_tokenizer
from harness.models.zoo import artifacts
from harness.models.zoo.recipes import packaged


def build(name: str, dtype: Dtype, weights: Path | None, data: Path | None, force: bool) -> None:
    """Build a model with its feed-forward weights in files of neurons, or find it in the cache, and print its path."""
    with waiting("flash build", f"building {name} (flash, {dtype})") as clock:
        path = artifacts.flash(name, _corpus(name, data), dtype, force=force, folder=weights, on_step=clock.begin)
    click.echo(path)


def _corpus(name: str, path: Path | None) -> Corpus | None:
    """The text in the tokens of a model, or None where there is none to be had and none was named."""
    try:
        tokenizer = packaged().find(name).tokenizer
        return corpus(load_text(path), None if tokenizer is None else packaged_tokenizer(tokenizer))
    except DataError as error:
        if path is not None:
            raise
        click.echo(f"No predictors are trained: {error.message}", err=True)
        return None
