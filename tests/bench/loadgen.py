"""MLPerf's LoadGen against our scenarios: the same `execute` in the same process, alternated, and before that the very
same queries timed by both; prints ratios and asserts nothing. At most 5 % apart, on a machine that has little else to
do. Needs the extra `loadgen`; `tox -e bench` runs it.

Both servers get the same arrivals: LoadGen's, which are made again here, so that what differs is who asks and who
measures. LoadGen tells its latencies as percentiles in a summary, which is read.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

MAKE_MODEL = """
import sys, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(1024, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1024)).eval()
program = torch.export.export(model, (torch.randn(8, 1024),))
with open(sys.argv[1], "wb") as file:
    file.write(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)
"""
# Those that LoadGen's summary has and a few hundred queries can tell.
PERCENTILES = (50, 90, 99)


def loadgen_latencies(
    execute: Callable[[], object], queries: int, rate_queries_per_s: float | None = None, seed: int = 0
) -> dict[float, int]:
    """Latencies in ns by percentile, as LoadGen sums them up: its server's at that rate, or its single stream's.

    LoadGen issues each query from a thread of its own, which answers it before the next: one process, one queue.
    """
    import mlperf_loadgen as lg

    def issue(samples: Sequence[Any]) -> None:
        for sample in samples:
            execute()
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    settings = lg.TestSettings()
    settings.mode = lg.TestMode.PerformanceOnly
    settings.scenario = lg.TestScenario.SingleStream
    if rate_queries_per_s is not None:
        settings.scenario = lg.TestScenario.Server
        settings.server_target_qps = rate_queries_per_s
        settings.schedule_rng_seed = seed
    settings.min_query_count = settings.max_query_count = queries
    settings.min_duration_ms = 0
    with tempfile.TemporaryDirectory() as folder:
        output, logs = lg.LogOutputSettings(), lg.LogSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        logs.log_output = output
        system = lg.ConstructSUT(issue, lambda: None)
        library = lg.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
        try:
            # A file of that name, in the folder it is run from, would change its settings.
            lg.StartTestWithLogSettings(system, library, settings, logs, str(Path(folder, "no audit")))
        finally:
            lg.DestroyQSL(library)
            lg.DestroySUT(system)
        summary = Path(folder, "mlperf_log_summary.txt").read_text()
    found = re.findall(r"^([\d.]+) percentile latency \(ns\)\s*: (\d+)$", summary, re.MULTILINE)
    return {float(percentile): int(latency) for percentile, latency in found}


def loadgen_arrivals(seed: int, rate_queries_per_s: float, queries: int) -> list[int]:
    """When LoadGen schedules its queries, ns after the start: gaps are std::exponential_distribution over std::mt19937,
    as libstdc++ makes it, and the first query arrives at 0.
    """
    raw = np.random.RandomState(seed).randint(0, 2**32, size=2 * (queries - 1), dtype=np.uint32).astype(np.float64)
    uniform = (raw[0::2] + raw[1::2] * 2.0**32) / 2.0**64
    gaps = (-np.log(1.0 - uniform) / rate_queries_per_s * 1e9).astype(np.int64)
    return [0, *np.cumsum(gaps).tolist()]


def percentiles(durations_ns: Sequence[int]) -> dict[float, int]:
    """By LoadGen's definition: the sample at that share of the sorted ones."""
    ordered = sorted(durations_ns)
    return {float(p): ordered[len(ordered) * p // 100] for p in PERCENTILES}


def _print(name: str, ours: list[dict[float, int]], theirs: list[dict[float, int]]) -> None:
    from harness.statistics.ratio import paired_ratio

    for p in PERCENTILES:
        a, b = ([float(one[p]) for one in each] for each in (ours, theirs))
        ratio = paired_ratio(dict(enumerate(b)), dict(enumerate(a)))
        print(
            f"LoadGen / harness, {name} p{p}: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], "
            f"median of {len(a)} pairs {np.median(np.divide(b, a)):.3f} "
            f"({np.median(b) / 1e6:.3f} ms, {np.median(a) / 1e6:.3f} ms)"
        )


def compare(what: str, execute: Callable[[], object], rounds: int, queries: int, utilisation: float) -> None:
    """Single stream and server, ours and LoadGen's in turn; the server is busy for `utilisation` of its time."""
    from harness.job import Job
    from harness.scenarios.closed_loop import repeat, warm_up
    from harness.scenarios.queries import SingleQuery
    from harness.scenarios.server import serve
    from harness.statistics.steady import SteadyRule

    clock = time.perf_counter_ns
    job = Job(
        target="bench", model=what, model_sha256="", scenario="single-stream", min_iterations=queries, min_duration_s=0
    )

    def query() -> SingleQuery:
        return SingleQuery(lambda _: (execute(),), (), "steady", clock)

    def ours_single(_: int) -> dict[float, int]:
        asked = query()
        repeat(asked, job, clock)
        return percentiles(asked.phases["steady"].duration_ns)

    both: list[tuple[dict[float, int], dict[float, int]]] = []
    for _ in range(rounds):  # no neighbour of this process can come between the two
        asked = query()
        theirs_of_it = loadgen_latencies(asked, queries)
        both.append((percentiles(asked.phases["steady"].duration_ns), theirs_of_it))
    _print(f"{what}, the same queries", [mine for mine, _ in both], [other for _, other in both])
    warmup, _ = warm_up(query(), 2.0, clock, SteadyRule())
    rate = utilisation * 1e9 / float(np.median(warmup.duration_ns))
    both = []
    for seed in range(rounds):
        asked = query()
        theirs_of_it = loadgen_latencies(asked, queries, rate, seed)
        series = asked.phases["steady"]
        waits = np.subtract(series.start_ns, loadgen_arrivals(seed, rate, queries))
        # LoadGen does not say when it began; a query that was asked as it arrived does.
        both.append((percentiles((waits - waits.min() + series.duration_ns).tolist()), theirs_of_it))
    _print(f"{what}, the same queries at {rate:.0f}/s", [mine for mine, _ in both], [other for _, other in both])

    def ours_server(seed: int) -> dict[float, int]:
        return percentiles(serve(query(), rate, loadgen_arrivals(seed, rate, queries), clock).latency.duration_ns)

    for scenario, first, second in (
        ("single-stream", ours_single, lambda _: loadgen_latencies(execute, queries)),
        (f"server at {rate:.0f}/s", ours_server, lambda seed: loadgen_latencies(execute, queries, rate, seed)),
    ):
        ours: list[dict[float, int]] = []
        theirs: list[dict[float, int]] = []
        for seed in range(rounds):
            pair = [(first, ours), (second, theirs)]
            for measure, found in pair if seed % 2 == 0 else reversed(pair):
                found.append(measure(seed))
        _print(f"{what}, {scenario}", ours, theirs)


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="A .pte. [default: one of 8 M weights]")
@click.option("--rounds", default=20, show_default=True, help="Pairs of runs.")
@click.option("--queries", default=300, show_default=True, help="In each run.")
@click.option("--utilisation", default=0.5, show_default=True, help="Share of its time that the server is busy.")
def main(model: Path | None, rounds: int, queries: int, utilisation: float) -> None:
    """Print what LoadGen measures over what harness measures: of a device that takes 5 ms and no processor, so that a
    busy machine nearly leaves it alone, and of a model.
    """
    from harness.job import Files, Job
    from harness.worker.inputs import make_inputs
    from harness.worker.runtimes.executorch import load

    compare("a wait of 5 ms", lambda: time.sleep(0.005), rounds, queries, utilisation)
    with tempfile.TemporaryDirectory() as scratch:
        path = model or Path(scratch, "mlp.pte")
        if model is None:
            subprocess.run([sys.executable, "-c", MAKE_MODEL, str(path)], check=True, capture_output=True)
        job = Job(target="bench", model="bench", model_sha256="", scenario="single-stream", batch=8)
        loaded = load(path, job, Files(model=str(path)))
        inputs = make_inputs(job, loaded.description, None)
        compare("a model", lambda: loaded.execute(inputs), rounds, queries, utilisation)


if __name__ == "__main__":
    main()
