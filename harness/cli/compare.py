"""`harness compare`: models side by side, from what was stored."""

from __future__ import annotations

from typing import Any

import click

from harness.cli._options import reading_options, short_option


@click.command(short_help="Set measured models side by side.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@reading_options
@short_option
def compare(**options: Any) -> None:
    """Print the table that `harness run` printed, for all models of a session or those named.

    Ratios are above 1x where a model is better than the baseline; n.s. means that the interval contains 1. Several
    conditions of the same models are rows of one table.

    \b
    harness compare --short
    harness compare selfcomp-small baseline-small --baseline baseline-small
    harness compare --session all --format csv > figures.csv
    """
    from harness.cli import comparison

    comparison.compare(**options)
