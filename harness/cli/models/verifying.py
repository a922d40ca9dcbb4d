"""What `harness models verify` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness.cli._waiting import waiting
from harness.errors import ModelError
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED, read_record
from harness.models.zoo.verification import verify as checks_of
from harness.report.machine import dump_json


def verify(names: tuple[str, ...], weights: Path | None, data: Path | None, as_json: bool) -> None:
    """Recompute loss, bits and sparsity of models, and compare them with what was recorded."""
    zoo, folder = packaged(), weights or PACKAGED
    chosen = [zoo.find(name).name for name in names] or [name for name in zoo.recipes if read_record(folder, name)]
    if not chosen:
        raise ModelError(f"There are no weights in {folder}.", "Name the folder of a `harness models train` run.")
    checks = []
    with waiting(f"models verify {' '.join(chosen)}", "computing the loss on the whole validation split") as clock:
        for name in chosen:
            clock.begin(name)
            checks += checks_of(zoo, name, folder, data)
    if as_json:
        click.echo(dump_json("verification", [asdict(check) for check in checks]), nl=False)
    else:
        table = Table("model", "figure", "recorded", "found", "", box=None, pad_edge=False)
        for check in checks:
            verdict = "agrees" if check.agrees else "DIFFERS"
            table.add_row(check.model, check.figure, *(_shown(v) for v in (check.recorded, check.found)), verdict)
        Console().print(table)
    if not all(check.agrees for check in checks):
        click.get_current_context().exit(1)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
