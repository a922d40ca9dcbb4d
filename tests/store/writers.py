"""Processes that write to a store: `python writers.py killed|compacted|together|beside|refused RESULTS [N]`."""

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
from harness.store.compact import compact
from harness.store.dataset import read_tables
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


def compacted(results: Path, times: int) -> None:
    """Kill a process that writes and compacts without an end, `times` times, at a random moment of its compaction."""
    moments = random.Random(2)
    began = time.monotonic()
    compact(results)  # imports everything, so that no child has to
    span = 2 * (time.monotonic() - began)
    for _ in range(times):
        said, out = os.pipe()
        ready, go = os.pipe()
        child = os.fork()
        if not child:
            while True:
                for _ in range(3):
                    attempt_id = uuid.uuid4().hex
                    write(results, attempt_id, 200)
                    os.write(out, f"{attempt_id}\n".encode())
                os.write(go, b"x")
                compact(results)
        os.close(out)
        select.select([ready], [], [])
        time.sleep(moments.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(said) as file:
            sys.stdout.write(file.read())
        for descriptor in (ready, go):
            os.close(descriptor)


def beside(results: Path, attempts: int) -> None:
    """A writer, a compactor and a reader at once; every reading must be of whole attempts, each once, and lose none."""
    child = writer(results, attempts, 1)
    compactor = os.fork()
    if not compactor:
        while True:
            compact(results)
    seen: set[str] = set()
    ended = 0
    while not ended:
        ended = os.waitpid(child, os.WNOHANG)[0]
        now = complete(results)
        assert seen <= now, "an attempt that was there is gone"
        seen = now
    os.kill(compactor, signal.SIGKILL)
    os.waitpid(compactor, 0)


def complete(results: Path) -> set[str]:
    """The attempts that can be seen, which have exactly their samples."""
    tables = read_tables(results, "all")
    assert tables.problems == ()
    assert not tables.runs["attempt_id"].duplicated().any(), "an attempt is there twice"
    counted = tables.samples.groupby("attempt_id", observed=True)["iteration"].apply(list).to_dict()
    for row in tables.runs.to_dict("records"):
        assert sorted(counted.pop(row["attempt_id"], [])) == list(range(row["model_bytes"]))
    assert not counted
    return set(tables.runs["attempt_id"])


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
        print(json.dumps({"what": error.message, "todo": error.hint}))


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # whoever is killed leaves the kernel's cache as it is; syncing only takes time
    what, folder, *number = sys.argv[1:]
    write(
        Path(folder), "before", 10
    )  # here, so that what is imported at the first write is not imported in every child
    commands = (killed, compacted, together, beside, refused)
    {command.__name__: command for command in commands}[what](Path(folder), *map(int, number))
