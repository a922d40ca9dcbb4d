"""What `harness models inspect` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.experiment.inspection import file_facts
from harness.report.machine import dump_json


def inspect(file: Path, as_json: bool) -> None:
    """Show the methods, inputs, delegates and manifest of a model file, or the tensors of a .safetensors."""
    facts = file_facts(file)
    if as_json:
        click.echo(dump_json("inspection", facts), nl=False)
    else:
        _print(facts)


def _print(facts: dict[str, Any]) -> None:
    click.echo(f"{facts['file']}: {facts['format']}, {facts['bytes']:,} bytes, sha256 {facts['sha256']}")
    for method in facts.get("methods", ()):
        arena = "" if method.get("planned_bytes") is None else f", planned arena {method['planned_bytes']:,} bytes"
        click.echo(f"method {method['name']}{arena}")
        for side in ("inputs", "outputs"):
            for index, described in enumerate(method[side]):
                click.echo(f"  {side[:-1]} {index}: {described_input(described)}")
        if method.get("delegates", ()):
            click.echo(f"  delegates: {', '.join(method.get('delegates', ()))}")
    if facts.get("external_data"):
        click.echo("its weights are in a file of their own: next to it under its name, or given with --data-file")
    for name, value in facts.get("metadata", {}).items():
        click.echo(f"{name}: {value}")
    for tensor in facts.get("tensors", ()):
        click.echo(f"{tensor['name']}: {tensor['dtype']} {tensor['sizes']}")
    if facts["manifest"] is None:
        click.echo("no manifest: how it was made is not known")
        return
    click.echo("manifest:")
    for name, value in facts["manifest"].items():
        if name not in ("layers", "recipe", "tokenizer", "artifact_sha256", "artifact_bytes") and value not in (
            None,
            {},
            [],
        ):
            click.echo(f"  {name}: {value}")
    for layer in facts["manifest"]["layers"]:
        click.echo(
            "  "
            + ", ".join(
                f"{key} {value:.3f}" if isinstance(value, float) else str(value) for key, value in layer.items()
            )
        )


def described_input(described: dict[str, Any]) -> str:
    """Such as `ids: int64 [1, 7], indices below 50` or `int, 3 when it was exported`. Where a dimension is dynamic, a
    `.pte` has its upper bound and a `.pt2` the name that it shares with others and the size of its example.
    """
    name = f"{described['name']}: " if described.get("name") else ""
    if described["dtype"] == "none":
        value = f", {described['value']} when it was exported" if "value" in described else ""
        return f"{name}{described.get('kind', 'no tensor')}{value}"
    dynamic = described.get("dynamic")
    sizes = ["?" if size is None else str(size) for size in described["sizes"]]
    if isinstance(dynamic, list):
        sizes = [f"{symbol} ({size})" if symbol else size for symbol, size in zip(dynamic, sizes, strict=True)]
    bounds = ", sizes are upper bounds" if dynamic is True else ""
    limit = f", indices below {described['limit']}" if "limit" in described else ""
    return f"{name}{described['dtype']} [{', '.join(sizes)}]{bounds}{limit}"
