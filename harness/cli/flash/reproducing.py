"""What `harness flash reproduce` does."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from harness.flash.device_model.reproduce import ABLATED, PROFILE, Row
from harness.flash.device_model.reproduce import reproduce as rows_of
from harness.report.machine import dump_json


def reproduce(as_json: bool) -> None:
    """Print the published I/O latencies beside those of the device model, and which are predictions."""
    rows = rows_of()
    if as_json:
        facts = [{**asdict(row), "model_ms": row.model_ms, "error": row.error} for row in rows]
        click.echo(dump_json("flash-reproduction", {"profile": PROFILE, "rows": facts}), nl=False)
        return
    click.echo(f"LLM in a flash (arXiv 2312.11514): I/O latency per token, published and by profile {PROFILE}\n")
    ablation = [row for row in rows if row.model == ABLATED]
    _print(f"{ABLATED}, ablation", [(_step(row), row) for row in ablation])
    _print("Other models, naive", [(row.model, row) for row in rows if row.model != ABLATED])
    for note in (
        "A prediction knows the geometry of a model and published throughputs of other reads. A consistency check",
        "takes bytes and throughput from the row itself: it says that the table agrees with itself, no more; the",
        "published bytes have one digit. The same document gives 105, 92, 26 and 30 ms for OPT 6.7B with everything",
        "on, under other conditions (CPU, M1, M2, GPU): they are not set against this table.",
    ):
        click.echo(note)


def _step(row: Row) -> str:
    """What a row adds to the one before it: `+ windowing`."""
    before, _, last = row.method.rpartition(" + ")
    return f"+ {last}" if before else last


def _print(title: str, rows: list[tuple[str, Row]]) -> None:

    table = Table(title, box=None, pad_edge=False, header_style="bold")
    for heading in ("flash → DRAM", "throughput", "published", "model", "error"):
        table.add_column(heading, justify="right")
    table.add_column("what it is")
    for name, row in rows:
        table.add_row(
            name,
            f"{row.bytes_a_token / 1e9:.3g} GB",
            f"{row.bytes_per_s / 1e9:.2f} GB/s",
            f"{row.published_ms:.0f} ms",
            f"{row.model_ms:.0f} ms" if row.model_ms >= 100 else f"{row.model_ms:.1f} ms",
            f"{round(100 * row.error, 1) + 0.0:+.1f} %",
            f"{row.kind}: {row.basis}",
        )
    console = Console(highlight=False)
    console.width = max(console.width, 140)  # rather too wide than a number cut short
    console.print(table)
    console.print()
