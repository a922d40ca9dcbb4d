"""What `harness models export` does."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli._waiting import waiting
from harness.models.zoo.exported_source import export_source


def export(source: str, output: Path, precision: str, samples: Path | None) -> None:
    """Write a model of the user's own."""
    with waiting(f"models export {source} {output.suffix} {precision}", f"exporting {source}") as clock:
        export_source(source, output, precision, samples, clock.begin)
    click.echo(output)
