"""Records the durations of processes from their first query on, and which of them a neighbour disturbed."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

_SUFFIXES = {"executorch": ".pte", "torch": ".pt2", "torch-compile": ".pt2", "onnxruntime": ".onnx"}
_LEAST, _MOST, _LEAST_S, _MOST_S = 2_100, 10_000, 0.5, 8.0
_PROBE_EVERY_NS, _DISTURBED, _CALM_NS, _WAIT_NS = 300_000, 1.15, 10_000_000, 6_000_000_000

MAKE_MODELS = """
import sys, torch
from pathlib import Path
from torch import nn
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
torch.manual_seed(0)
folder = Path(sys.argv[1])
layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True, norm_first=True)
def conv(channels):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(2 * channels, 10),
    )
models = {
    "mlp-tiny": (nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)), (1, 64)),
    "mlp": (nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512)), (4, 512)),
    "conv": (conv(32), (1, 3, 32, 32)),
    "transformer": (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (1, 32, 128)),
}
for name, (model, sizes) in models.items():
    inputs = (torch.randn(sizes),)
    program = torch.export.export(model.eval(), inputs)
    torch.export.save(program, folder / f"{name}.pt2")
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / f"{name}.pte").write_bytes(lowered.buffer)
    torch.onnx.export(model, inputs, folder / f"{name}.onnx", dynamo=True, external_data=False, verbose=False)
"""


def record(out: Path, rounds: int, cpu: int) -> None:
    """Append a row a process to a CSV, all models and runtimes by turns."""
    os.sched_setaffinity(0, {cpu})
    fastest_ns = min(probe() for _ in range(200_000))
    if not out.exists():
        out.write_text("runtime,model,disturbed,durations_ns\n")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MAKE_MODELS, folder], check=True)
        models = sorted(path.stem for path in Path(folder).glob("*.pte"))
        for model, (runtime, suffix) in ((m, r) for _ in range(rounds) for m in models for r in _SUFFIXES.items()):
            path = Path(folder, model + suffix)
            command = [
                sys.executable,
                str(Path(__file__).with_name("warmup.py")),
                "--process",
                runtime,
                str(path),
                str(fastest_ns),
            ]
            ended = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            durations, disturbed = json.loads(ended.stdout.splitlines()[-1])
            spans = " ".join(f"{begin}-{end}" for begin, end in disturbed)
            with out.open("a") as file:
                file.write(f"{runtime},{model},{spans},{' '.join(map(str, durations))}\n")
            click.echo(f"{runtime} {model}: {len(durations)} queries", err=True)


def probe() -> int:
    """Nanoseconds of some arithmetic that needs no memory: longer only where the core is shared."""
    start, total = time.perf_counter_ns(), 0
    for number in range(250):
        total += number * number
    return time.perf_counter_ns() - start


def loaded(runtime: str, path: Path) -> Callable[[], object]:
    """One query of a model, which has not been asked yet."""
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        feed = {given.name: np.random.default_rng(0).standard_normal(given.shape, dtype=np.float32)}
        return lambda: session.run(None, feed)
    from harness.job import Files, Job
    from harness.runtime import Preparing, runtime_for
    from harness.worker.inputs import make_inputs

    compiled = runtime == "torch-compile"
    job = Job(target="x86", model=path.stem, model_sha256="", scenario="single-stream", compile=compiled)
    loader = runtime_for(path, "cpu", "executorch" if runtime == "executorch" else "torch")
    if isinstance(loader, Preparing):
        loader.prepare(path)
    model = loader.load(path, job, Files(model=str(path)))
    inputs = model.arrange(make_inputs(job, model.description, None))
    return lambda: model.execute(inputs)


def process(runtime: str, path: Path, fastest_ns: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Durations from the first query on, back to back but for a probe, and between which of them a probe was slow: for
    so long that enough are undisturbed. Begins in a calm moment, if one comes.
    """
    query, clock, slow_ns = loaded(runtime, path), time.perf_counter_ns, _DISTURBED * fastest_ns
    gc.collect()
    gc.disable()
    begin = calm_since = clock()
    while clock() - calm_since < _CALM_NS and clock() - begin < _WAIT_NS:
        if probe() > slow_ns:
            calm_since = clock()
    durations: list[int] = []
    disturbed: list[tuple[int, int]] = []
    probed = undisturbed = 0
    slow_before = False
    begin = last = clock()
    while True:
        start = clock()
        query()
        end = clock()
        durations.append(end - start)
        if end - last < _PROBE_EVERY_NS:
            continue
        slow = min(probe(), probe()) > slow_ns
        if slow or slow_before:
            disturbed.append((probed, len(durations)))
        else:
            undisturbed += len(durations) - probed
        probed, slow_before, last = len(durations), slow, clock()
        enough = undisturbed >= _LEAST and last - begin >= _LEAST_S * 1e9
        if enough or probed >= _MOST or last - begin > _MOST_S * 1e9:
            return durations, disturbed
