"""`harness flash ablate`: the ablation of LLM in a flash, measured on the device at hand or projected on another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from harness.flash.names import DTYPES, KINDS

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_bytes(ctx: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """A number of bytes from 2000000, 2MB, or 1.5 GiB."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]i?|)b?", value.lower(), re.ASCII)
    if match is None:
        raise click.BadParameter(f"{value!r} is no number of bytes; write it as 2MB or 512KiB.", ctx, option)
    return int(float(match[1]) * _UNITS[match[2]])


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shape", default="opt-6.7b-layer", show_default=True, help="Without FILES: as for `write`.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Without FILES.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Without FILES: where they are written, to be removed at the end. [default: here]",
)
@click.option("--trace", "trace_file", type=click.Path(path_type=Path), help="An .npz trace. [default: synthetic]")
@click.option("--tokens", type=click.IntRange(min=2), default=12, show_default=True, help="Of a synthetic trace.")
@click.option("--window", type=int, default=5, show_default=True, help="Tokens whose neurons stay in DRAM.")
@click.option(
    "--dram-budget", callback=parse_bytes, metavar="SIZE", help="For neurons in DRAM, such as 2MB. [default: none]"
)
@click.option("--reader", type=click.Choice(KINDS), default="threads", show_default=True, help="What reads.")
@click.option("--depth", type=click.IntRange(min=1), default=32, show_default=True, help="Reads at once.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Alternated rounds.")
@click.option(
    "--peer/--no-peer",
    default=True,
    show_default=True,
    help="Where fio is installed, let it read as much at once from the same file, and print the ratio.",
)
@click.option("--device-model", metavar="NAME|FILE", help="Measure nothing: project on this device profile.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ablate(**options: Any) -> None:
    """Replay which neurons are active, and read them from flash under each policy of LLM in a flash, one step per row.

    FILES are a plain and a bundled neuron file of the same weights; with one of them, only the policies that read it
    are run. Without, both are written for --shape, with random weights.

    \b
    harness flash ablate --reader uring --rounds 7
    harness flash ablate plain.neurons bundled.neurons --trace recorded.npz --dram-budget 20MB
    harness flash ablate --shape 4096x16384x32 --device-model ufs4
    """
    from harness.cli.flash import ablating

    ablating.ablate(**options)
