"""Our generation with an OpenVINO model against a bare loop over `infer`, each in processes of their own that take
turns on one processor: medians of prefill and decode, 1.00 +- 0.02, and the peak of memory over the idle library,
within 3 %. Asserts nothing, since machines are noisy.

    harness models build baseline-6x384 --format openvino --output /tmp/baseline.xml
    python tests/bench/openvino_loop.py /tmp/baseline.xml --cpu 1
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.job import Files, Job, request_json
from harness.statistics.ratio import paired_ratio

BARE_LOOP = """
import gc, json, os, sys, time
path, cpu, prompt, new, queries = sys.argv[1], *map(int, sys.argv[2:])
os.sched_setaffinity(0, {cpu})
sys.modules["openvino_telemetry"] = None
import numpy as np
import openvino
import torch  # as in our worker, so that both stand on the same memory

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

core = openvino.Core()
core.get_versions("CPU")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
idle = peak()
request = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}).create_infer_request()
names = {name for port in request.model_inputs for name in port.get_names()}

def inputs(begin, count):
    given = {"input_ids": np.zeros((1, count), np.int64), "position_ids": np.arange(begin, begin + count)[None]}
    given |= {"beam_idx": np.zeros(1, np.int32), "logits_at": np.array([count - 1])}
    given["attention_mask"] = np.ones((1, begin + count), np.int64)
    return {name: array for name, array in given.items() if name in names}

prefill, steps = inputs(0, prompt), [inputs(place, 1) for place in range(prompt, prompt + new - 1)]
token = np.zeros((1, 1), np.int64)
steps = [step | {"input_ids": token} for step in steps]
times = {"prefill": [], "decode": []}
gc.collect(); gc.disable()
for query in range(queries):
    request.reset_state()
    for phase, feed in [("prefill", prefill), *(("decode", step) for step in steps)]:
        start = time.perf_counter_ns()
        logits = request.infer(feed, share_inputs=True)[0]
        times[phase].append(time.perf_counter_ns() - start)
        token[0, 0] = logits.reshape(-1, logits.shape[-1])[-1].argmax()
half = {phase: values[len(values) // 2:] for phase, values in times.items()}  # what is before is the warm-up
print(json.dumps({"peak": peak() - idle} | {phase: sorted(v)[len(v) // 2] for phase, v in half.items()}))
"""


def bare(path: Path, cpu: int, prompt: int, new: int, queries: int) -> dict[str, float]:
    """Medians of prefill and decode in nanoseconds, and bytes at the peak over the idle library."""
    command = [sys.executable, "-c", BARE_LOOP, str(path), *map(str, (cpu, prompt, new, queries))]
    values: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return values


def ours(path: Path, cpu: int, prompt: int, new: int, queries: int) -> dict[str, float]:
    """The same by our worker, in one process for times and another for memory."""
    events = worker(path, cpu, prompt, new, measure="latency", min_iterations=queries // 2)
    values = {
        phase: statistics.median(event["duration_ns"])
        for phase in ("prefill", "decode")
        for event in events
        if event.get("phase") == phase
    }
    memory = [event for event in worker(path, cpu, prompt, new, measure="memory") if event["event"] == "memory"]
    idle = next(event["rss_bytes"] for event in memory if event["phase"] == "runtime")
    return values | {"peak": max(event["peak_rss_bytes"] for event in memory if event["phase"] != "runtime") - idle}


def worker(path: Path, cpu: int, prompt: int, new: int, **fields: Any) -> list[dict[str, Any]]:
    """What our worker says of one job."""
    job = Job(
        target="bench",
        model="bench",
        model_sha256="",
        scenario="generate",
        cpus=(cpu,),
        prompt_tokens=prompt,
        new_tokens=new,
        min_duration_s=0,
        **fields,
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "harness.worker"],
        input=request_json(job, Files(model=str(path), data=str(path.with_suffix(".bin")))) + "\n",
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--cpu", default=0, show_default=True)
@click.option("--pairs", default=8, show_default=True)
@click.option("--queries", default=40, show_default=True, help="Generations a process, of which half are the warm-up.")
@click.option("--prompt", default=128, show_default=True)
@click.option("--new", default=65, show_default=True)
def main(model: Path, cpu: int, pairs: int, queries: int, prompt: int, new: int) -> None:
    """Print the ratios."""
    both: tuple[Callable[..., dict[str, float]], ...] = (ours, bare)
    measured: dict[Any, list[dict[str, float]]] = {ours: [], bare: []}
    for pair in range(pairs):
        for measure in both if pair % 2 else both[::-1]:
            measured[measure].append(measure(model, cpu, prompt, new, queries))
    for name, unit, scale in (("prefill", "us", 1e3), ("decode", "us", 1e3), ("peak", "MB", 1e6)):
        sides = [{pair: values[name] for pair, values in enumerate(measured[side])} for side in both]
        ratio = paired_ratio(*sides)
        medians = ", ".join(f"{statistics.median(side.values()) / scale:.2f} {unit}" for side in sides)
        interval = "no interval" if ratio.low is None else f"[{ratio.low:.3f}, {ratio.high:.3f}]"
        print(f"{name}: ours / bare {ratio.value:.3f} {interval} (medians {medians})")


if __name__ == "__main__":
    main()
