"""Durations as pyperf keeps them (its JSON format 1.0), for `pyperf stats`, `hist` and `compare_to`.

A benchmark is one model, condition and phase; a run of it is one process. Only durations of processes that succeeded
have a place there. A latency that was not measured on a device is marked in the benchmark's name, which pyperf prints
wherever it prints a figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.errors import NothingComparable

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.grouping import Run
    from harness.conditions.fields import Condition
    from harness.store.dataset import Tables

# Phases whose samples follow the warm-up's, and are of the same thing: the warm-up belongs to the first of them.
_WARMED = ("generate", "steady", "batch")


def suite_json(tables: Tables) -> str:
    """A pyperf suite, in seconds. Raises NothingComparable where there are no durations."""
    from harness.analysis.grouping import group, run_records
    from harness.conditions.fields import tell_apart

    good = [run for run in run_records(tables.runs) if run["status"] == "ok" and run["measure"] == "latency"]
    timed = tables.samples[tables.samples["duration_ns"].notna()]
    durations = dict(iter(timed.groupby(["attempt_id", "phase"], observed=True)["duration_ns"]))
    groups = group(good)
    words_of_each = tell_apart([condition for condition, _ in groups])
    benchmarks = [
        benchmark
        for words, (condition, members) in zip(words_of_each, groups, strict=True)
        for benchmark in _benchmarks(condition, words, members, durations)
    ]
    if not benchmarks:
        raise NothingComparable(
            "There are no durations to export.", "pyperf knows nothing else; `--format pytorch-v3` has every metric."
        )
    suite = {"version": "1.0", "metadata": {"unit": "second"}, "benchmarks": benchmarks}
    return json.dumps(suite, indent=1) + "\n"


def _benchmarks(
    condition: Condition, words: tuple[str, ...], runs: list[Run], durations: dict[Any, pd.Series[Any]]
) -> Iterator[dict[str, Any]]:
    models: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        models.setdefault((run["model"], run["model_sha256"], run["latency_kind"]), []).append(run)
    ids = {run["attempt_id"] for run in runs}
    phases = dict.fromkeys(phase for attempt, phase in durations if attempt in ids and phase != "warmup")
    several = len({(model, kind) for model, _, kind in models}) < len(models)
    for (model, sha256, kind), model_runs in models.items():
        for phase in phases:
            made = [process for run in model_runs if (process := _run(run, phase, durations)) is not None]
            if not made:
                continue
            label = f"{model}@{str(sha256)[:8]}" if several else model
            name = " ".join([label, phase, *(f"({', '.join(words)})" for _ in words[:1])])
            mark = "" if kind == "measured" else f" [{kind or 'no real latency'}]"
            known = {key: value for key, value in asdict(condition).items() if value is not None}
            facts = {"model": model, "model_sha256": sha256, "phase": phase, "latency_kind": kind}
            texts = {f"harness_{key}": str(value) for key, value in (known | facts).items() if value is not None}
            yield {"metadata": {"name": name + mark, "loops": 1, **texts}, "runs": made}


def _run(run: Run, phase: str, durations: dict[Any, pd.Series[Any]]) -> dict[str, Any] | None:
    """One process; None where it has no such phase. pyperf takes nothing that is not above zero."""
    rows = durations.get((run["attempt_id"], phase))
    values = [value / 1e9 for value in rows.tolist() if value > 0] if rows is not None else []
    if rows is None or not values:
        return None
    made: dict[str, Any] = {"date": str(run["started_at"].tz_localize(None)), "harness_session": run["session_id"]}
    if run["finished_at"] is not None:
        made["duration"] = (run["finished_at"] - run["started_at"]).total_seconds()
    if left_out := len(rows) - len(values):
        made["harness_values_not_above_zero"] = left_out
    if run["flags"]:
        made["harness_flags"] = " ".join(run["flags"])
    warmup = durations.get((run["attempt_id"], "warmup")) if phase in _WARMED else None
    warmups = {} if warmup is None else {"warmups": [[1, value / 1e9] for value in warmup.tolist()]}
    return {"metadata": made, **warmups, "values": values}
