"""A hundred `kill -9` at random moments of a write, of a compaction, of a night: what is lost, doubled, unreadable.

Prints a row each, and ends with code 1 unless all counts are nought. The suite does the same with fewer kills.

    python tests/bench/store_kills.py --kills 100
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click
import pandas as pd

from harness.store.check import check
from harness.store.compact import compact
from harness.store.dataset import read_tables

TESTS = Path(__file__).parents[1]
# What is killed, its script, and how it is called there.
VICTIMS = (
    ("write", TESTS / "store" / "writers.py", "killed"),
    ("compaction", TESTS / "store" / "writers.py", "compacted"),
    ("night", TESTS / "nightly" / "killed.py", "killed"),
)


def killed(name: str, script: Path, mode: str, kills: int) -> dict[str, object]:
    """One victim, `kills` times. What was acknowledged: the attempts written, or the numbers of the nights ended."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        ended = subprocess.run(
            [sys.executable, str(script), mode, str(folder), str(kills)], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise click.ClickException(ended.stderr)
        said = ended.stdout.split()
        results = folder / "results" if name == "night" else folder
        tables = read_tables(results, "all")
        counts = tables.samples.groupby("attempt_id", observed=True).size()
        there = set(tables.runs["attempt_id"])
        if name == "night":
            from harness.nightly.ledger import read_ledger

            nights, unread = read_ledger(results, "nights")
            whole = Counter(tables.runs["session_id"])
            there = {str(row["number"]) for row in nights if whole[row["session_id"]] == 3}
        else:
            unread = []
            there = {one for one in there if counts.get(one) in (10, 200)}
        bad = [one for one in check(results).findings if not one.harmless]
        compact(results)
        again = read_tables(results, "all")
        return {
            "killed": name,
            "times": kills,
            "acknowledged": len(said),
            "lost": len(set(said) - there),
            "doubled": int(tables.runs["attempt_id"].duplicated().sum()),
            "unreadable": len(bad) + len(tables.problems) + len(unread),
            "changed by compacting": len(set(tables.runs["attempt_id"]) ^ set(again.runs["attempt_id"])),
        }


@click.command()
@click.option("--kills", default=100, show_default=True, help="Of each.")
def main(kills: int) -> None:
    """Kill, and count."""
    rows = pd.DataFrame([killed(*victim, kills) for victim in VICTIMS])
    click.echo(rows.to_string(index=False))
    sys.exit(bool(rows[["lost", "doubled", "unreadable", "changed by compacting"]].to_numpy().any()))


if __name__ == "__main__":
    main()
