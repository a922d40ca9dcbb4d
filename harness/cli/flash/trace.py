"""`harness flash trace`: which neurons of a model are active on real text, and how well predictors know it before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--model", "name", required=True, metavar="NAME", help="A name from `harness models list`.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The .npz to write.")
@click.option(
    "--tokens", type=click.IntRange(min=2), default=1024, show_default=True, help="Of the validation text, recorded."
)
@click.option("--window", type=int, default=5, show_default=True, help="For what is printed of the trace.")
@click.option("--rank", type=click.IntRange(min=1), help="Of the predictors. [default: a quarter of the width]")
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Tiny Shakespeare; default: $HARNESS_DATA, or the copy that comes with harness.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def trace(**options: Any) -> None:
    """Record which neurons of a model are active, token by token, and train predictors of them on the training text.

    The trace is for `harness flash ablate --trace`. Predictors are scored on the recorded text, which they have not
    seen: what they miss, what they name in vain, and what the model's loss becomes when they are believed.

    \b
    harness flash trace --model relu --output relu.npz
    """
    from harness.cli.flash import tracing

    tracing.trace(**options)
