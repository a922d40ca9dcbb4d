"""The exact figures of the pages, measured again into `readme.csv`, which `tests/docs/test_figures.py` reads.

Exact are bytes, planned arenas, losses and counted instructions: with the same versions they are the same at every run,
whatever else the machine does. Times are not, and are not here. Run it after a change of the exporter or of a version;
it asserts nothing, and says which figures have changed. Models that are not built yet take some minutes each.

    HARNESS_DATA=tinyshakespeare.txt python tests/bench/readme.py
    python tests/bench/readme.py --table counts
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

FILE = Path(__file__).with_name("readme.csv")
COLUMNS = ("table", "model", "metric", "value", "executorch", "torch", "torchao", "device")
BYTES = ("model_bytes", "planned_bytes", "loss_nats")
COUNTS = ("prefill_instructions", "decode_instructions", "first_instructions", "load_instructions")
SMALL = ("baseline-small", "selfcomp-small")
ROUNDED = ("fp32", "int8", "int4-channel", "int4-group32")
ONCE = ("--processes", "1", "--min-iterations", "5", "--min-duration", "0", "--max-warmup", "0.1", "--json")
"""Times are thrown away: as few as harness allows."""


def first_table() -> list[dict[str, Any]]:
    """Sizes, arenas and losses of the first table (`docs/output/first.txt`)."""
    found = measured("x86", [f"{name}.pte" for name in SMALL], ONCE)
    return rows("first", found, (*BYTES, "perplexity", "bits_per_weight"))


def counts() -> list[dict[str, Any]]:
    """Instructions of the same models on the emulated arm64, and how far the outputs are from those on x86."""
    found = measured("arm64", [f"{name}.pte" for name in SMALL], ("--json",))
    return rows("counts", found, (*COUNTS, "max_abs_difference_x86", "argmax_agreement_x86"))


def programs() -> list[dict[str, Any]]:
    """Sizes and losses of both baselines, as they are and rounded, and of the large models compressed."""
    from harness.models.zoo.artifacts import artifact

    found = []
    for baseline, others in (("baseline-small", ()), ("baseline-6x384", ("selfcomp-6x384", "priced-6x384"))):
        paths = [artifact(baseline, precision) for precision in ROUNDED] + [artifact(name) for name in others]
        found += rows("programs", measured("x86", list(map(str, paths)), (*ONCE, "--new-tokens", "8")), BYTES)
    return found


TABLES = {"first": first_table, "counts": counts, "programs": programs}


def measured(target: str, models: list[str], options: tuple[str, ...]) -> dict[str, Any]:
    """What `harness run --json` says of the models."""
    named = [word for model in models for word in ("--model", model)]
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        command = [sys.executable, "-m", "harness", "run", "--target", target, *named, "--results", folder, *options]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_RESULTS")}
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    (comparison,) = json.loads(said)["data"]["comparisons"]
    return dict(comparison)


def rows(table: str, comparison: dict[str, Any], metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row of the file for each model and metric that has a figure."""
    versions = {name: version(name).partition("+")[0] for name in ("executorch", "torch", "torchao")}
    device = comparison["fingerprint"]["cpu_model"]
    return [
        {"table": table, "model": figure["model"], "metric": row["metric"], "value": figure["value"], "device": device}
        | versions
        for row in comparison["metrics"]
        if row["metric"] in metrics
        for figure in row["models"]
        if figure["value"] is not None
    ]


def read() -> list[dict[str, str]]:
    """The file as it is, every field as text."""
    if not FILE.exists():
        return []
    with FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@click.command()
@click.option("--table", "tables", multiple=True, type=click.Choice(tuple(TABLES)), help="Only this one.")
def main(tables: tuple[str, ...]) -> None:
    """Measure the exact figures of the pages again and write readme.csv."""
    before = read()
    now = {name: TABLES[name]() for name in tables or TABLES}
    after = [row for name in TABLES for row in now.get(name, [row for row in before if row["table"] == name])]
    old = {(row["table"], row["model"], row["metric"]): row["value"] for row in before}
    for row in after:
        key = (row["table"], row["model"], row["metric"])
        if old.get(key) != str(row["value"]):
            click.echo(f"{' '.join(key)}: {old.get(key, 'nothing')} before, {row['value']} now")
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(after)


if __name__ == "__main__":
    main()
