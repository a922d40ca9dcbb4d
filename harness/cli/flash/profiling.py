"""What `harness flash profile` does."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness.cli._waiting import waiting
from harness.errors import UsageError
from harness.flash.device_model import profile as profiles
from harness.flash.device_model import sweep
from harness.flash.device_model.profile import Profile
from harness.flash.device_model.sweep import Sample
from harness.flash.device_model.throughput import NAMES, errors
from harness.flash.io.fio import peer_sentence
from harness.flash.io.proof import host_note
from harness.flash.io.reader import Kind
from harness.report.machine import dump_json

_PEER_ROUNDS = 11

_LABELS = ("fixed time of a read", "throughput of one read", "reads per second", "throughput of all", "sharpness")


def profile(path: Path, reader: Kind, rounds: int, output: Path, as_json: bool) -> None:
    """Measure random reads of PATH by size and depth, fit the device model, and save it as a profile."""
    if not os.path.isdir(output.absolute().parent):  # reported before anything is measured
        raise UsageError(f"There is no folder {output.parent}.", "Name another file with --output.")
    with waiting(f"flash profile {reader} {rounds}", f"measuring {path}") as clock:
        clock.begin("writing a file to read")
        with sweep.readable(path) as file:
            clock.begin("reading by size and depth")
            total, samples = len(sweep.SIZES) * len(sweep.DEPTHS) * rounds, []
            for sample in sweep.sweep(file, reader, rounds=rounds, announce=lambda text: click.echo(text, err=True)):
                samples.append(sample)
                clock.within(len(samples), total)
            clock.begin("reading by turns with fio")
            peer = peer_sentence(file, samples[0].kind, 16384, 32, min(rounds, _PEER_ROUNDS))
    cells, refused = sweep.cells(samples)
    for sentence in refused:
        click.echo(sentence, err=True)
    summary = f"Measured by harness: {samples[0].kind}, O_DIRECT, {rounds} alternated rounds"
    fitted = profiles.from_cells(output.stem, summary, cells, "measured", "fitted to the cells of this file")
    unrest = f"Rounds of a cell differed by a factor of {sweep.unrest(samples):.2f} (geometric standard deviation)."
    notes = (peer, unrest if rounds > 1 else None, host_note(), *refused)
    fitted = replace(fitted, notes=tuple(note for note in notes if note))
    profiles.write(output, fitted)
    if as_json:
        facts = [{**asdict(sample), "bytes_per_s": sample.bytes_per_s} for sample in samples]
        click.echo(
            dump_json("flash-profile", {"output": str(output), "profile": fitted.as_json(), "samples": facts}), nl=False
        )
    else:
        _print(fitted, samples)
        click.echo(f"Saved to {output}; `harness flash ablate --device-model {output}` projects a trace on it.")


def _print(fitted: Profile, samples: Sequence[Sample]) -> None:
    """The cells with the error of the model on each, then the limits, how far to trust them, and notes."""
    assert fitted.held_out is not None
    shown = {
        (cell.read_bytes, cell.depth): f"{cell.bytes_per_s / 1e6:,.0f} MB/s {100 * error:+5.0f} %"
        for cell, error in zip(fitted.cells, errors(fitted.limits, fitted.cells), strict=True)
    }
    depths = sorted({sample.depth for sample in samples})
    table = Table("read size", box=None, pad_edge=False, header_style="bold")
    for depth in depths:
        table.add_column(f"depth {depth}", justify="right")
    for size in sorted({sample.read_bytes for sample in samples}):
        table.add_row(f"{size // 1024} KiB", *(shown.get((size, depth), "not valid") for depth in depths))
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    console.print(f"[bold]{fitted.summary}[/bold]")
    console.print("[dim]median throughput, and the error of the fitted model[/dim]\n")
    console.print(table)
    console.print()
    units = {"latency_ns": (1e3, "µs"), "lane_bytes_per_s": (1e9, "GB/s"), "bytes_per_s": (1e9, "GB/s")}
    for name, label in zip(NAMES, _LABELS, strict=True):
        divisor, unit = units.get(name, (1.0, ""))
        value = fitted.parameters[name].value
        known = f"{value / divisor:,.{0 if value / divisor >= 1000 else 2}f} {unit}".strip()
        console.print(f"{label:<28}{known if math.isfinite(value) and value > 0 else 'not met by these reads'}")
    console.print(
        f"{'error on held-out cells':<28}{100 * fitted.held_out.rms:.0f} % root mean square, "
        f"{100 * fitted.held_out.worst:.0f} % at worst (each left out once)\n"
    )
    for note in fitted.notes:
        console.print(f"• {note}", markup=False, soft_wrap=True)
