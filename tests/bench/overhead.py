"""What harness itself costs, printed as ratios of alternated runs; asserts nothing, since machines are noisy. `tox -e
bench` runs it all.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import click

from harness.statistics.ratio import Ratio, paired_ratio

BARE_LOOP = """
import os, signal, sys, time, gc, torch
from executorch.runtime import Runtime
from executorch.extension.pybindings._C import _unsafe_reset_threadpool
_unsafe_reset_threadpool(1)
method = Runtime.get().load_program(sys.argv[1]).load_method("forward")
inputs = [torch.randn([8, 512], generator=torch.Generator().manual_seed(0))]
for _ in range(100):
    method.execute(inputs)
gc.collect(); gc.disable()
os.kill(os.getpid(), signal.SIGSTOP)
durations = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter_ns()
    method.execute(inputs)
    durations.append(time.perf_counter_ns() - start)
print(sorted(durations)[len(durations) // 2])
"""

MAKE_MODEL = """
import sys, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(512, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 512)).eval()
program = torch.export.export(model, (torch.randn(8, 512),))
with open(sys.argv[1], "wb") as file:
    file.write(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)
"""


def alternate(a: Callable[[], float], b: Callable[[], float], rounds: int) -> tuple[float, float, Ratio]:
    """The medians of `a` and `b`, called in turn, and the ratio of the first to the second with its paired interval."""
    pairs = [(a(), b()) for _ in range(rounds)]
    ratio = paired_ratio(dict(enumerate(x for x, _ in pairs)), dict(enumerate(y for _, y in pairs)))
    return statistics.median(x for x, _ in pairs), statistics.median(y for _, y in pairs), ratio


def shown(ratio: Ratio) -> str:
    """A ratio and its interval."""
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def whole_process_s(*command: str) -> float:
    """Wall seconds of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def bench_help() -> None:
    """`harness --help` against importing click: at most 3x."""
    harness = str(Path(sys.executable).parent / "harness")
    ours, click_only, ratio = alternate(
        lambda: whole_process_s(harness, "--help"), lambda: whole_process_s(sys.executable, "-c", "import click"), 5
    )
    print(f"harness --help / python -c 'import click': {shown(ratio)} ({ours * 1e3:.0f} ms, {click_only * 1e3:.0f} ms)")


def taking_turns(processes: list[subprocess.Popen[str]], slice_s: float = 0.1) -> None:
    """Let one process run at a time, in turn, until all have ended: both meet the same machine. A call that is stopped
    half way becomes one long sample, which a median does not see.
    """
    while running := [process for process in processes if process.poll() is None]:
        for process in running:
            process.send_signal(signal.SIGCONT)
            time.sleep(slice_s)
            if len(running) > 1:
                process.send_signal(signal.SIGSTOP)


def stoppable(command: list[str], output: IO[str]) -> subprocess.Popen[str]:
    """A process that writes to a file, so that it never waits for a reader."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.DEVNULL, text=True)


def bench_timed_loop(model: Path, pairs: int = 20, calls: int = 3000) -> None:
    """Our timed loop against a bare loop over Method.execute, each in a process of its own: 1.00 +- 0.02."""
    from harness.job import Files, Job, request_json

    job = Job(
        target="bench",
        model="bench",
        model_sha256="",
        scenario="single-stream",
        batch=8,
        min_iterations=calls,
        min_duration_s=0,
        max_warmup_s=0.1,
    )
    request = request_json(job, Files(model=str(model))) + "\n"
    ours, bare = {}, {}
    for pair in range(pairs):
        with tempfile.TemporaryFile("w+") as events, tempfile.TemporaryFile("w+") as median:

            def worker(events: IO[str] = events) -> subprocess.Popen[str]:
                command = [sys.executable, "-P", "-m", "harness.worker"]
                process = stoppable(command, events)
                assert process.stdin is not None
                process.stdin.write(request)
                process.stdin.flush()
                while os.fstat(events.fileno()).st_size == 0:
                    time.sleep(0.05)  # until it says hello, its imports done
                process.send_signal(signal.SIGSTOP)
                return process

            def loop(median: IO[str] = median) -> subprocess.Popen[str]:
                process = stoppable([sys.executable, "-c", BARE_LOOP, str(model), str(calls)], median)
                os.waitpid(process.pid, os.WUNTRACED)  # it stops itself when it is ready
                return process

            # The process that was started first is 2 % slower, also where both are the same: so each is first in turn.
            taking_turns([start() for start in ((loop, worker) if pair % 2 else (worker, loop))])
            events.seek(0)
            steady = [event for event in map(json.loads, events) if event.get("phase") == "steady"]
            ours[pair] = statistics.median(steady[0]["duration_ns"])
            median.seek(0)
            bare[pair] = float(median.read())
    medians = ", ".join(f"{statistics.median(values.values()) / 1e6:.3f} ms" for values in (ours, bare))
    print(f"timed loop / bare loop: {shown(paired_ratio(ours, bare))} (medians {medians}; {pairs} pairs)")


def bench_sample() -> None:
    """What a sample costs beyond the work: inside the timed region and in all. At most 1 us."""
    from harness.scenarios.queries import SingleQuery

    def nothing(inputs: object) -> tuple[()]:
        return ()

    query = SingleQuery(nothing, (), "steady", time.perf_counter_ns)
    count = 200_000
    start = time.perf_counter_ns()
    for _ in range(count):
        query()
    whole = (time.perf_counter_ns() - start) / count
    inside = statistics.median(query.phases["steady"].duration_ns)
    print(
        f"added a sample: {inside:.0f} ns inside the timed region (calling a function that does nothing included), "
        f"{whole:.0f} ns in all"
    )


def bench_run(model: Path, folder: Path) -> None:
    """Time outside load, warm-up and measurement: at most 3 s a worker process and 1 s a run."""
    import pandas as pd

    results = folder / "overhead"
    harness = str(Path(sys.executable).parent / "harness")
    wall = whole_process_s(
        harness, "run", "-t", "x86", "-m", str(model), "--results", str(results), "--no-quality", "-q"
    )
    runs = pd.read_parquet(results / "runs").sort_values("position").set_index("attempt_id")
    # A process lasts until the next begins: what it leaves behind is stored in between.
    until = runs.started_at.shift(-1).fillna(runs.finished_at)
    lasted = (until - runs.started_at).dt.total_seconds()
    samples = pd.read_parquet(results / "samples")
    measured = samples[samples.phase.isin(["first", "warmup", "steady"])].groupby("attempt_id").duration_ns.sum() / 1e9
    scalars = pd.read_parquet(results / "scalars")
    loaded = scalars[scalars.name.isin(["load_program_ns", "load_method_ns"])].groupby("attempt_id").value.sum() / 1e9
    timed = runs.index[runs.measure == "latency"]
    outside = lasted[timed] - measured[timed] - loaded[timed]
    # The file is described once, in a worker process of its own that leaves no row and does what a memory process does.
    describe = lasted[runs.measure == "memory"].median()
    print(
        f"outside load, warm-up and measurement: {outside.median():.2f} s a worker process (median of {len(outside)}; "
        f"python -c 'import torch' takes {whole_process_s(sys.executable, '-c', 'import torch'):.2f} s), "
        f"{wall - lasted.sum() - describe:.2f} s a run"
    )


def bench_store(folder: Path) -> None:
    """Write, then read and summarise, a million samples: under 2 s and 500 MB. In a process of its own, to see its
    memory.
    """
    code = Path(__file__).with_name("store_million.py")
    print(
        subprocess.run(
            [sys.executable, str(code), str(folder / "million")], check=True, capture_output=True, text=True
        ).stdout.strip()
    )


def bench_same(model: Path, folder: Path, rounds: int) -> None:
    """A/A: the same model twice, interleaved, five blocks a comparison; `n.s.` is due 19 times in 20."""
    import pandas as pd

    results = folder / "same"
    command = [str(Path(sys.executable).parent / "harness"), "run", "-t", "x86", "-m", str(model), "-m", str(model)]
    options = ["--no-quality", "--no-memory", "-n", str(5 * rounds), "--min-duration", "0.3", "--max-warmup", "0.5"]
    subprocess.run([*command, *options, "--results", str(results)], check=True, stdout=subprocess.DEVNULL)
    samples = pd.read_parquet(results / "samples").merge(pd.read_parquet(results / "runs"), on="attempt_id")
    steady = samples[samples.phase == "steady"].groupby(["block", "model"]).duration_ns
    for percentile in (0.5, 0.9, 0.99):
        values = steady.quantile(percentile).unstack()
        first, second = (values[name].to_dict() for name in values.columns)
        ratios = [
            paired_ratio({b: first[b] for b in range(at, at + 5)}, {b: second[b] for b in range(at, at + 5)})
            for at in range(0, 5 * rounds, 5)
        ]
        unresolved = sum(not ratio.resolved for ratio in ratios)
        print(f"A/A, p{percentile * 100:.0f}: n.s. {unresolved} of {rounds} times (5 blocks each)")


@click.command()
@click.option("--rounds", default=20, show_default=True, help="A/A comparisons; 0 leaves them out.")
def main(rounds: int) -> None:
    """Print what harness costs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["HARNESS_CACHE"] = str(folder / "cache")
        model = folder / "mlp.pte"
        subprocess.run([sys.executable, "-c", MAKE_MODEL, str(model)], check=True, capture_output=True)
        bench_help()
        bench_sample()
        bench_timed_loop(model)
        bench_run(model, folder)
        bench_store(folder)
        if rounds:
            bench_same(model, folder, rounds)


if __name__ == "__main__":
    main()
