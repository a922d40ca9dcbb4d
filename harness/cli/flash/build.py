"""`harness flash build`: a model in the form in which its feed-forward weights lie in flash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.flash.write import DTYPES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harness.flash.io.layout import Dtype
    from harness.models.gpt.network import GPT
    from harness.models.train.data import Corpus

# Changed when files of an older version must be made again.
VERSION = "1"
# Windows of the training text that predictors are trained on, and of the validation text that they are scored on.
TRAINING_WINDOWS, VALIDATION_WINDOWS, PREDICTOR_STEPS = 512, 64, 1000


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
    from rich.console import Console

    from harness.models.zoo import artifacts

    def export(model: GPT, path: Path) -> None:
        write_form(model, path, dtype, _corpus(data))

    with Console(stderr=True).status(f"Building {name}: a first build takes half a minute"):
        click.echo(artifacts.variant(name, kind(dtype), export, built_with(), force=force, folder=weights))


def kind(dtype: str) -> str:
    """What stands in the file's name and in its manifest for the precision."""
    return "flash" if dtype == "float16" else f"flash-{dtype}"


def built_with() -> dict[str, str]:
    """What decides how the files look, beside the weights."""
    return {"flash": VERSION}


def write_form(gpt: GPT, path: Path, dtype: Dtype, corpus: Corpus | None) -> None:
    """Write the program of `gpt` without its feed-forward layers to `path`, their neurons beside it in both forms, and
    predictors where there is a `corpus` to train them on.

    Raises ModelError, with the measured sparsity, for a model whose neurons do not rest; HarnessError when the disk is
    full.
    """
    import numpy as np

    from harness.flash.ablation.trace import from_masks, require_sparsity
    from harness.flash.io import layout
    from harness.flash.language_model import files, predictor
    from harness.models.export import pte_flash

    context = gpt.config.context
    if corpus is None:
        random = np.random.default_rng(0)
        seen = random.integers(0, gpt.config.vocabulary_size, (VALIDATION_WINDOWS, context))
    else:
        seen = windows(corpus.training, context, TRAINING_WINDOWS)[:, :-1]
    inputs, active = pte_flash.record(gpt, seen)
    require_sparsity(from_masks(active, "recorded"))
    rows = pte_flash.feed_forward(gpt)
    shape = layout.Shape(gpt.config.width, tuple(len(up) for up, _ in rows), pte_flash.rest_bytes(gpt))
    layout.write(files.neurons_path(path, "plain"), shape, "plain", dtype, rows.__getitem__)
    layout.write(files.neurons_path(path, "bundled"), shape, "bundled", dtype, rows.__getitem__)
    if corpus is not None:
        trained = [
            predictor.train(x, mask, rank(gpt.config.width), steps=PREDICTOR_STEPS)
            for x, mask in zip(inputs, active, strict=True)
        ]
        predictor.save(files.predictors_path(path), trained)
    pte_flash.export_flash(gpt, path, files.checksums(path))


def windows(tokens: npt.NDArray[np.int64], context: int, most: int) -> npt.NDArray[np.int64]:
    """Stretches of `context` + 1 tokens, at most so many, at equal distances: int64 [n, context + 1]."""
    import numpy as np

    count = min(most, (len(tokens) - 1) // context)
    starts = np.linspace(0, len(tokens) - context - 1, count).astype(np.int64)
    return np.stack([tokens[start : start + context + 1] for start in starts])


def rank(width: int) -> int:
    """Of a predictor: a quarter of the model's width, as a share about that of the paper's."""
    return max(1, width // 4)


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
