"""A results folder read with pandas: what is in it, and figures of your own.

    python examples/results_in_pandas.py results

`harness.load_results` gives the figures of the printed table. The tables behind them are Parquet files that any program
reads; `docs/results.md` has their columns.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd


def figures(folder: Path) -> Any:
    """The figures that harness prints, of the newest session: value, interval, unit, number of processes, flags."""
    import harness

    return harness.load_results(folder).table()


def sessions(folder: Path) -> pd.DataFrame:
    """A row per session: when it began, its target and models, and how many processes succeeded."""
    runs = pd.read_parquet(folder / "runs")
    return (
        runs.groupby("session_id")
        .agg(
            started_at=("started_at", "min"),
            target=("target", "first"),
            models=("model", lambda names: ", ".join(sorted(set(names)))),
            succeeded=("status", lambda status: int((status == "ok").sum())),
            processes=("status", "size"),
        )
        .sort_values("started_at")
    )


def latency_per_process(folder: Path, phase: str) -> pd.DataFrame:
    """The median of a phase in milliseconds: a row per block, a column per model.

    A process gives one value. Blocks are rounds in which every model ran once, so that a ratio inside a row is not
    disturbed by what changes slowly.
    """
    runs = pd.read_parquet(folder / "runs")
    runs = runs[(runs.status == "ok") & (runs.measure == "latency")]
    samples = pd.read_parquet(folder / "samples", filters=[("phase", "==", phase)])
    joined = samples.merge(runs[["attempt_id", "model", "block"]], on="attempt_id")
    return joined.groupby(["block", "model"]).duration_ns.median().unstack() / 1e6


def main(folder: Path) -> None:
    """Print what is in the folder."""
    print(sessions(folder).to_string())
    phases = pd.read_parquet(folder / "samples", columns=["phase"]).phase.unique()
    phase = "decode" if "decode" in phases else "steady"
    print(f"\nMedian of {phase} per process, ms:")
    print(latency_per_process(folder, phase).round(3).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
