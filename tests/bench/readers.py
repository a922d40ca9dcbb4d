"""Our readers beside fio's best engine, by size and depth and in batches; nothing is asserted. Needs fio.

A quarter of an hour, and nothing else running: a disk that others share needs the 31 rounds.

    python tests/bench/readers.py /data
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pandas as pd

from harness.flash.device_model.sweep import readable
from harness.flash.io.fio import compare
from harness.flash.io.reader import DIRECT

_ROUND_BYTES = 64 << 20
# KiB, depth, and reads that are asked for at a time (None: all): about a layer's at the end.
_CELLS: tuple[tuple[int, int, int | None], ...] = (
    *((kib, depth, None) for kib in (16, 32, 64, 128) for depth in (16, 32)),
    (16, 32, 384),
)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rounds", type=click.IntRange(min=2), default=31, show_default=True, help="Alternated rounds.")
def main(path: Path, rounds: int) -> None:
    """Read PATH (a file, or a folder for one of 256 MiB) with each reader and with fio by turns; print the ratios."""
    with readable(path) as file:
        found = pd.DataFrame(_rows(file, rounds))
    click.echo(found.to_string(index=False, float_format="%.2f"))


def _rows(file: Path, rounds: int) -> Iterator[dict[str, Any]]:
    for kib, depth, batch in _CELLS:
        for kind in DIRECT:
            reads = _ROUND_BYTES // (kib * 1024)
            reads -= reads % (batch or 1)
            peer = compare(kind, file, size_bytes=kib * 1024, depth=depth, reads=reads, rounds=rounds, batch=batch)
            click.echo(f"{kib} KiB, depth {depth}, {peer.kind}: {peer.ratio.value:.2f}", err=True)
            yield {
                "KiB": kib,
                "depth": depth,
                "batch": peer.batch,
                "reader": peer.kind,
                "best of fio": peer.engine,
                "GB/s": peer.ours_bytes_per_s.value / 1e9 if peer.ours_bytes_per_s.value else None,
                "ratio": peer.ratio.value,
                "low": peer.ratio.low,
                "high": peer.ratio.high,
                "valid": peer.proof.valid,
            }


if __name__ == "__main__":
    main()
