"""A worker: it reads one line of JSON, does the job, and prints events. It needs nothing of harness."""

import json
import sys
import time
from pathlib import Path


def emit(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def timed(count: int, numbers: list[int]) -> tuple[list[int], list[int]]:
    """`count` executes: when each began, and how long it took."""
    starts, durations = [], []
    for _ in range(count):
        start = time.perf_counter_ns()
        sum(numbers)  # the execute: nothing else stands between two readings of the clock
        durations.append(time.perf_counter_ns() - start)
        starts.append(start)
    return starts, durations


request = json.loads(sys.stdin.readline())
job, path = request["job"], Path(request["files"]["model"])
emit("hello", protocol=1, worker="board 1", versions={"board": "1.0"})
if job["measure"] == "describe":  # what the file says of itself
    tensor = {"name": "numbers", "kind": "tensor", "dtype": "int64", "sizes": [1, int(path.read_text())]}
    methods = [{"name": "forward", "inputs": [tensor], "outputs": [{**tensor, "sizes": [1, 1]}]}]
    emit("describe", format="sum", methods=methods, metadata={}, delegates=[])
else:
    begin = time.perf_counter_ns()
    numbers = list(range(int(path.read_text())))
    loaded = time.perf_counter_ns() - begin
    emit("loaded", program_ns=loaded, method_ns=0, program_bytes=path.stat().st_size, planned_bytes=None)
    for phase, count in (("first", 1), ("warmup", 30), ("steady", job["min_iterations"])):
        starts, durations = timed(count, numbers)
        emit("samples", phase=phase, start_ns=starts, duration_ns=durations)
    emit("scalar", name="queries", value=job["min_iterations"])
emit("done")
