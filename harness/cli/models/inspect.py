"""`harness models inspect`: what a model file says of itself, read in a worker process since the file is untrusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(**options: Any) -> None:
    """Show the methods, inputs, delegates and manifest of a model file, or the tensors of a .safetensors.

    \b
    harness models inspect model.pte
    """
    from harness.cli.models import inspecting

    inspecting.inspect(**options)
