"""Ten thousand runs, ten million samples: seconds and peak memory of the real commands, each in a process of its own.

A store of 417 nights of two models is written as `harness run` writes it, a file an attempt and table, then compacted.
Prints a row a command and state of the store: wall and CPU seconds from the start of the process, imports included
(CPU seconds hold on a machine that does other work), and its peak resident memory. Asserts nothing.

    python tests/bench/store_scale.py FOLDER             # kept there, 0.5 GB, so that a second run only reads
    python tests/bench/store_scale.py FOLDER --nights 42
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import numpy as np
import pandas as pd

from harness.measurement import Measurement, run_table, tables
from harness.protocol import Samples, Scalar
from harness.store.writer import write_attempt

START = datetime(2026, 1, 1, 2, 17, tzinfo=UTC)
MODELS = {"baseline-small": 370_000.0, "selfcomp-small": 111_000.0}
BLOCKS = 10
TOKENS = 33
_ENVIRONMENT = [
    {"moment": moment, "name": f"reading_{number}", "value": str(number), "reason": None}
    for moment in ("before", "after")
    for number in range(15)
]
_FINGERPRINT = json.dumps({f"condition_{number}": "as on every night" for number in range(20)})
COMMANDS = (
    ("compare",),
    ("table",),
    ("compare", "--session", "s00100"),
    ("table", "--session", "s00100"),
    ("report", "--list"),
    ("compare", "--session", "all"),
    ("table", "--session", "all"),
)


def jobs() -> list[tuple[str, str, int]]:
    """The passes of a night in their order: model, pass, block."""
    timed = [(model, "latency", block) for block in range(BLOCKS) for model in MODELS]
    return [*((model, "memory", 0) for model in MODELS), *timed, *((model, "quality", 0) for model in MODELS)]


def measured(model: str, what: str, random: np.random.Generator) -> Measurement:
    """What a worker said: 1,200 samples where it was timed."""
    made = Measurement()
    if what != "latency":
        name, value = ("peak_rss_bytes", 2.4e8) if what == "memory" else ("loss_nats", 1.52)
        made.scalars.append((None, Scalar(name=name, value=value)))
        return made
    clock = 0
    for phase, scale, count in (("first", 9, 1), ("warmup", 40, 5), ("prefill", 4, 34), ("ttft", 5, 34)):
        clock = _add(made, phase, clock, MODELS[model] * scale, count, random)
    _add(made, "decode", clock, MODELS[model], 1200 - 74, random)
    made.scalars += [(None, Scalar(name=f"load_{part}_ns", value=1e6)) for part in ("program", "method")]
    return made


def _add(made: Measurement, phase: str, clock: int, scale: float, count: int, random: np.random.Generator) -> int:
    durations = random.lognormal(np.log(scale), 0.05, count).astype("int64")
    starts = clock + np.concatenate([[0], np.cumsum(durations)])
    made.add(Samples(phase=phase, start_ns=starts[:-1].tolist(), duration_ns=durations.tolist()))
    return int(starts[-1])


def write_nights(results: Path, nights: int) -> None:
    """A session a night."""
    random = np.random.default_rng(0)
    for night in range(nights):
        begin = START + timedelta(days=night)
        for position, (model, what, block) in enumerate(jobs()):
            attempt = f"{random.integers(1 << 62):032x}"
            started = begin + timedelta(seconds=3 * position)
            row = {
                "attempt_id": attempt,
                "job_id": f"{model}/{what}/{block}",
                "series_id": f"{model}/{what}",
                "session_id": f"s{night:05d}",
                "position": position,
                "started_at": started,
                "finished_at": started + timedelta(seconds=2),
                "status": "ok",
                "worker": "python",
                "latency_kind": "measured",
                "device": "cpu",
                "model": model,
                "model_sha256": model.encode().hex().ljust(64, "0")[:64],
                "model_bytes": 3_314_000,
                "scenario": "generate",
                "measure": what,
                "block": block,
                "threads": 1,
                "compile": False,
                "batch": 1,
                "prompt_tokens": 32,
                "new_tokens": TOKENS,
                "job_json": json.dumps({"scenario": "generate", "model": model, "measure": what, "block": block}),
                "fingerprint": "f" * 16,
                "fingerprint_json": _FINGERPRINT,
                "flags": ["frequency_unknown", "not_pinned"],
                "harness_version": "0.1.0",
            }
            rows = tables(attempt, measured(model, what, random), _ENVIRONMENT) | {"runs": run_table(row)}
            write_attempt(results, started.date().isoformat(), "x86", rows)


def timed(command: Sequence[str], results: Path) -> dict[str, object]:
    """A command as a user starts it, its output thrown away."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", *command, "--results", str(results)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise click.ClickException(f"harness {' '.join(command)} ended with code {child.returncode}")
    return {
        "harness": " ".join(command),
        "wall s": round(time.perf_counter() - begin, 1),
        "CPU s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak MB": round(usage.ru_maxrss / 1e3),
    }


def state(results: Path) -> dict[str, object]:
    """How many files there are."""
    files = [file for file in results.rglob("*.parquet") if file.name[0] not in "._"]
    size = sum(file.stat().st_size for file in files)
    return {"store": results.name, "files": len(files), "MB": round(size / 1e6)}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--nights", default=417, show_default=True, help="Sessions of 24 runs and 24,000 samples.")
def main(folder: Path, nights: int) -> None:
    """Write both stores into FOLDER unless they are there, and time the commands on them."""
    small, merged = folder / f"small-{nights}", folder / f"compact-{nights}"
    if not (small / "runs").exists():
        os.fsync = lambda descriptor: None  # the bench itself needs no protection from a power cut
        write_nights(small, nights)
    rows = []
    if not (merged / "runs").exists():
        subprocess.run(["cp", "-al", str(small), str(merged)], check=True)
        rows.append(state(small) | timed(("results", "compact"), merged))
    for store in (small, merged):
        rows += [state(store) | timed(command, store) for command in COMMANDS]
    click.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
