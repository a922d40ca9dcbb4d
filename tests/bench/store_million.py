"""Write ten attempts of 100,000 samples, read them back and derive every metric; print seconds and peak memory of
this process.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from harness.measurement import Measurement, tables
from harness.metrics import CATALOGUE
from harness.protocol import Samples
from harness.store.dataset import read_tables
from harness.store.schemas import RUNS
from harness.store.writer import prepare, write_attempt


def main(results: Path) -> None:
    """`results` is an empty folder."""
    rng = np.random.default_rng(0)
    durations = [rng.lognormal(14, 0.1, 100_000).astype("int64") for _ in range(10)]
    begin = time.perf_counter()
    prepare(results)
    for index, duration in enumerate(durations):
        measurement = Measurement()
        measurement.add(Samples(phase="decode", start_ns=np.cumsum(duration).tolist(), duration_ns=duration.tolist()))
        row = dict.fromkeys(RUNS.names) | {
            "attempt_id": f"a{index}",
            "session_id": "s",
            "position": index,
            "flags": [],
            "started_at": index,
            "status": "ok",
            "measure": "latency",
        }
        rows = tables(f"a{index}", measurement, []) | {"runs": pa.Table.from_pylist([row], schema=RUNS)}
        write_attempt(results, "2026-01-01", "bench", rows)
    written = time.perf_counter()
    stored = read_tables(results)
    for metric in CATALOGUE:
        metric.per_process(stored)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"a million samples: written in {written - begin:.2f} s, read and summarised in {end - written:.2f} s, "
        f"peak {peak:.0f} MB"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
