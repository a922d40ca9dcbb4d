"""Processes that write to a store: `python writers.py killed|together|refused RESULTS [N]`."""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from harness.errors import StoreError
from harness.store.schemas import RUNS, SAMPLES
from harness.store.writer import write_attempt


def write(results: Path, attempt_id: str, samples: int) -> None:
    """One attempt; `model_bytes` says how many samples belong to it."""
    row = {
        "attempt_id": attempt_id,
        "session_id": "s",
        "position": 0,
        "started_at": datetime.now(UTC),
        "model_bytes": samples,
    }
    noise = random.Random(attempt_id)
    columns = {
        "attempt_id": [attempt_id] * samples,
        "phase": ["steady"] * samples,
        "iteration": list(range(samples)),
        "start_ns": list(range(samples)),
        "duration_ns": [noise.getrandbits(60) for _ in range(samples)],
        "instructions": [None] * samples,
    }
    tables = {"runs": pa.Table.from_pylist([row], RUNS), "samples": pa.table(columns, SAMPLES)}
    write_attempt(results, "2026-11-21", "x86", tables)


def writer(results: Path, attempts: int, out: int) -> int:
    """A process that writes so many attempts and says the id of each once it is written."""
    child = os.fork()
    if child:
        return child
    for _ in range(attempts):
        attempt_id = uuid.uuid4().hex
        write(results, attempt_id, 200)
        os.write(out, f"{attempt_id}\n".encode())
    os._exit(0)


def killed(results: Path, times: int) -> None:
    """Kill a writer that would never end, `times` times, each after its first attempt and a random moment."""
    moments = random.Random(1)
    for _ in range(times):
        said, out = os.pipe()
        child = writer(results, 1_000_000, out)
        os.close(out)
        select.select([said], [], [])
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(said) as file:
            sys.stdout.write(file.read())


def together(results: Path, attempts: int) -> None:
    """Two writers at once, in the same folders, from the first on."""
    children = [writer(results, attempts, 1) for _ in range(2)]
    sys.exit(max(os.waitpid(child, 0)[1] for child in children))


def refused(results: Path) -> None:
    """The kernel refuses to let a file grow, as it does on a full disk: with an error in the middle of a write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    try:
        write(results, "refused", 50_000)
    except StoreError as error:
        print(json.dumps({"what": error.what, "todo": error.todo}))


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # whoever is killed leaves the kernel's cache as it is; syncing only takes time
    what, folder, *number = sys.argv[1:]
    write(
        Path(folder), "before", 10
    )  # here, so that what is imported at the first write is not imported in every child
    {"killed": killed, "together": together, "refused": refused}[what](Path(folder), *map(int, number))
