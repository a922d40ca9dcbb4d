"""`harness flash build`: a model in the form in which its feed-forward weights lie in flash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.flash.write import DTYPES

if TYPE_CHECKING:
    from harness.flash.io.layout import Dtype
    from harness.models.train.data import Corpus


@click.command()
@click.argument("name")
@click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Type of a weight.")
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Tiny Shakespeare; default: $HARNESS_DATA, or the copy that comes with harness.",
)
@click.option("--force", is_flag=True, help="Build even if the cached files are current.")
def build(name: str, dtype: Dtype, weights: Path | None, data: Path | None, force: bool) -> None:
    """Build model NAME with its feed-forward weights in files of neurons, or find it in the cache, and print its path.

    \b
    harness flash build relu
    """
    from harness.cli._waiting import waiting
    from harness.models.zoo import artifacts

    with waiting("flash build", f"building {name} (flash, {dtype})") as clock:
        path = artifacts.flash(name, _corpus(data), dtype, force=force, folder=weights, on_step=clock.begin)
    click.echo(path)


def _corpus(path: Path | None) -> Corpus | None:
    """The text, or None where there is none to be had and none was named."""
    from harness.errors import DataError
    from harness.models.train.data import corpus, load_text

    try:
        return corpus(load_text(path))
    except DataError as error:
        if path is not None:
            raise
        click.echo(f"No predictors are trained: {error.what}", err=True)
        return None
