"""What `harness models inspect` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.experiment.inspection import file_facts
from harness.model_description import heavy_operators
from harness.report.machine import dump_json

_KERNELS_SHOWN = 8


def inspect(file: Path, as_json: bool) -> None:
    """Show the methods, inputs, delegates and manifest of a model file, or the tensors of a .safetensors."""
    facts = file_facts(file)
    if as_json:
        click.echo(dump_json("inspection", facts), nl=False)
    else:
        _print(facts)


def _print(facts: dict[str, Any]) -> None:
    click.echo(f"{facts['file']}: {facts['format']}, {facts['bytes']:,} bytes, sha256 {facts['sha256']}")
    if (language := facts.get("language_model")) is not None:
        cache = language["cache_bytes"]
        size = "of a size that the file does not say" if cache is None else f"of {cache:,} bytes"
        click.echo(
            f"language model by {language['convention']}: context of {language['context']} tokens, vocabulary of "
            f"{language['vocabulary']}, KV cache {size}"
        )
    for method in facts.get("methods", ()):
        arena = "" if method.get("planned_bytes") is None else f", planned arena {method['planned_bytes']:,} bytes"
        click.echo(f"method {method['name']}{arena}")
        for side in ("inputs", "outputs"):
            for index, described in enumerate(method[side]):
                click.echo(f"  {side[:-1]} {index}: {described_input(described)}")
        if method.get("delegates", ()):
            click.echo(f"  delegates: {', '.join(method.get('delegates', ()))}")
        for line in operator_lines(method.get("operators")):
            click.echo(f"  {line}")
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


def operator_lines(counts: dict[str, Any] | None) -> list[str]:
    """Who runs the operators of a method: how many each delegate took of how many, which are left, and a warning where
    matrix products or convolutions are among these. Nothing where the file does not say.
    """
    if counts is None:
        return []
    kernels: dict[str, int] = counts["kernels"]
    outside = sum(kernels.values())
    known = [part["operators"] for part in counts["delegated"]]
    total = None if None in known else sum(known) + outside
    lines = []
    for part in counts["delegated"]:
        took = "a number that its format does not say" if part["operators"] is None else str(part["operators"])
        of = "" if total is None else f" of {total}"
        calls = "1 call" if part["calls"] == 1 else f"{part['calls']} calls"
        lines.append(f"operators: {part['delegate']} runs {took}{of}, in {calls}")
    if outside:
        most = sorted(kernels.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{name} {count}" for name, count in most[:_KERNELS_SHOWN])
        more = "" if len(most) <= _KERNELS_SHOWN else f" and {len(most) - _KERNELS_SHOWN} kinds more"
        lines.append(f"operators: {outside} run outside delegates: {listed}{more}")
    if (left := heavy_operators(counts)) is not None:
        lines.append(f"WARNING: {left} outside delegates, in kernels that may be many times slower: was it lowered?")
    return lines


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
