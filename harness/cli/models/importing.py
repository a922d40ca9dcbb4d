"""What `harness models import` does."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli._waiting import waiting
from harness.models.zoo.imported_source import import_source


def import_checkpoint(folder: Path, output: Path, context: int | None, precision: str) -> None:
    """Write a checkpoint as a program."""
    with waiting(f"models import {precision}", f"importing {folder.name}") as clock:
        tokenizer = import_source(folder, output, context, precision, clock.begin)
    click.echo(output)
    if tokenizer is None:
        click.echo(f"{folder.name} has no tokenizer: give one with --tokenizer when you run it.", err=True)
