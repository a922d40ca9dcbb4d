"""What `harness models list` and `build` do. No torch before something is built: they are asked often."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from harness.api.zoo import zoo_format
from harness.cli._waiting import waiting
from harness.errors import UsageError
from harness.manifest import read_manifest, sha256_file
from harness.models.zoo.artifacts import artifact, cached, static
from harness.models.zoo.copying import copy_artifact
from harness.models.zoo.listing import rows, table
from harness.report.machine import dump_json
from harness.target import find_target


def list_models(as_json: bool) -> None:
    """List the models: method, bits per weight, recorded loss, and whether they are built."""
    if as_json:
        click.echo(dump_json("models", rows()), nl=False)
    else:
        Console().print(table(rows()))


def build(
    name: str,
    precision: str | None,
    fmt: str | None,
    target_name: str | None,
    channels: str | None,
    weights: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build the file of model NAME from its trained weights, or find it in the cache, and print its path."""
    if target_name is not None:
        if fmt is not None:
            raise UsageError("A target decides which kind of file it takes.", "Leave out --format, or --target.")
        name, fmt = zoo_format(Path(name), find_target(target_name))
    fmt = fmt or "pte"
    if channels is not None and fmt != "static":
        raise UsageError("Only a static file leaves a choice of channels.", "Add --target npu.")
    if precision is not None and fmt in ("cached", "static"):
        raise UsageError(f"A {fmt} file is rounded by who loads it.", "Leave out --precision.")

    form = " ".join(part for part in (fmt, precision, channels) if part)
    with waiting(f"models build {fmt}", f"building {name} ({form})") as clock:
        if fmt == "static":
            path = static(name, channels or "padded", force=force, folder=weights, on_step=clock.begin)
        elif fmt == "cached":
            path = cached(name, force=force, folder=weights, on_step=clock.begin)
        else:
            path = artifact(name, precision, fmt, force=force, folder=weights, on_step=clock.begin)
    if output is not None:
        path = copy_artifact(path, output)
    manifest = read_manifest(path, sha256_file(path)) if fmt == "onnx" else None
    if manifest is not None and (warning := manifest.quality.get("warning")):
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        click.echo(
            dump_json("model", {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256_file(path)}), nl=False
        )
    else:
        click.echo(path)
