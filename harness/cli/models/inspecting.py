"""What `harness models inspect` shows."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from safetensors import SafetensorError, safe_open

from harness.errors import ModelError, UsageError
from harness.experiment.runner import run_job
from harness.job import Files, Job
from harness.manifest import read_manifest, sha256_file
from harness.outside_files import check_name
from harness.report.machine import dump_json
from harness.target import find_target, target_names


def inspect(file: Path, as_json: bool) -> None:
    """Show the methods, inputs, delegates and manifest of a model file, or the tensors of a .safetensors."""
    if not os.path.isfile(file):
        raise ModelError(
            f"{file} does not exist.", "Check the path; `harness models list` shows the models that can be built."
        )
    check_name(file)
    try:
        sha256 = sha256_file(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}).", "Check its permissions.") from error
    facts: dict[str, Any] = {"file": str(file), "bytes": file.stat().st_size, "sha256": sha256}
    facts |= _tensors(file) if file.suffix == ".safetensors" else _program(file, sha256)
    manifest = read_manifest(file, sha256)
    facts["manifest"] = None if manifest is None else asdict(manifest)
    if as_json:
        click.echo(dump_json("inspection", facts), nl=False)
    else:
        _print(facts)


def _tensors(file: Path) -> dict[str, Any]:
    """Names, dtypes and shapes from the header of a safetensors file, which holds no code."""
    try:
        with safe_open(file, framework="np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
            return {
                "format": "safetensors",
                "tensors": [
                    {"name": name, "dtype": part.get_dtype(), "sizes": part.get_shape()}
                    for name, part in slices.items()
                ],
            }
    except SafetensorError as error:
        raise ModelError(
            f"{file} is no safetensors file or is damaged ({error}).", "Copy it again from where it came from."
        ) from error


def _program(file: Path, sha256: str) -> dict[str, Any]:
    """Ask a worker of the first target here that loads such a file."""
    targets = [
        target
        for target in map(find_target, target_names())
        if file.suffix in target.capabilities.formats and target.availability().available
    ]
    targets.sort(key=lambda target: target.capabilities.latency != "measured")  # an emulator is slower
    if not targets:
        raise UsageError(
            f"No target here loads {file.suffix or 'a file without suffix'}.",
            "`harness targets` shows what each loads.",
        )
    job = Job(target=targets[0].name, model=file.stem, model_sha256=sha256, scenario="describe", measure="describe")
    attempt = run_job(
        targets[0],
        job,
        Files(model=str(file)),
        session_id="inspect",
        position=0,
        timeout_s=300,
        model_bytes=file.stat().st_size,
    )
    if attempt.error is not None:
        raise attempt.error
    assert attempt.measurement.description is not None
    return asdict(attempt.measurement.description)


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
