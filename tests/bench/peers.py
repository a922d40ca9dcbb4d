"""Language models in other runtimes: what harness measures against a bare loop of that runtime in a process of its own.

    python tests/bench/peers.py baseline.tflite baseline.onnx baseline.xml   # of `harness models build --format ...`

Prints, for each file, our median of a decoded token and of a prompt of 128 over that of the loop (1.00 +- 0.02 is
asked), and our memory over an idle process against the loop's `VmHWM` (3 %). Processes take turns; asserts nothing,
since machines are noisy. A runtime is added by its loop in `LOOPS`; llama.cpp's is in `llama_bench.py`.

Two processes of the same work may differ by 5 % for as long as they run, on a virtual machine with two cores: more
`--pairs` make an interval narrower there, more `--queries` and a shorter `--turn` do not. For prompts, `--new 2
--queries 150`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import click
from overhead import shown, stoppable, taking_turns

from harness.job import Files, Job, request_json
from harness.statistics.ratio import paired_ratio

PROMPT = 128
# What each loop has before and behind it: `load` gives two functions, of which only the second is timed: tokens [1, n]
# and the position of the first to inputs, and inputs to logits. A step reads its token where `token` has it by then.
_FRAME = """
import gc, json, os, signal, sys, time
import numpy as np
{imports}

def status(name):
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

{load}
PROMPT, NEW, queries = {prompt}, {new}, int(sys.argv[2])
prompt = np.random.default_rng(0).integers(0, 60, (1, PROMPT)).astype(np.{dtype})
token = np.zeros((1, 1), np.{dtype})
np.arange(4.0).argmax()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
idle = status("VmRSS")
arrange, run = load(sys.argv[1])
prompt = arrange(prompt, 0)
steps = [arrange(token, position) for position in range(PROMPT, PROMPT + NEW - 1)]
times = dict(prefill=[], decode=[])

def query():
    begin = time.perf_counter_ns()
    logits = run(prompt)
    times["prefill"].append(time.perf_counter_ns() - begin)
    for step in steps:
        token[0, 0] = logits.reshape(-1, logits.shape[-1])[-1].argmax()
        begin = time.perf_counter_ns()
        logits = run(step)
        times["decode"].append(time.perf_counter_ns() - begin)

for _ in range(2):
    query()
for kind in times.values():
    kind.clear()
gc.collect(); gc.disable()
os.kill(os.getpid(), signal.SIGSTOP)
for _ in range(queries):
    query()
medians = {{kind: sorted(values)[len(values) // 2] for kind, values in times.items()}}
print(json.dumps(medians | {{"over_idle_bytes": status("VmHWM") - idle}}))
"""
LOOPS = {
    ".tflite": (
        "from ai_edge_litert.interpreter import Interpreter",
        "int32",
        """
def load(path):
    interpreter = Interpreter(model_path=path, num_threads=1)
    native = interpreter._interpreter
    defined = interpreter._get_full_signature_list()
    signatures = {}
    for name, each in defined.items():
        length = int(name.partition("_")[2] or 1)
        graph = native.GetSubgraphIndexFromSignature(name)
        native.AllocateTensors(graph)
        signatures[length] = graph, each["inputs"], each["outputs"]
    cache = [name for name in defined["decode"]["inputs"] if name.startswith("kv_cache")]
    for graph, inputs, _ in signatures.values():  # what a new sequence finds there must be numbers
        for name in cache:
            native.tensor(native, inputs[name], graph).fill(0)
    last = [None]

    def arrange(tokens, position):
        count = tokens.shape[1]
        graph, inputs, outputs = signatures[count]
        given = [(inputs["tokens"], tokens)]
        given.append((inputs["input_pos"], np.arange(position, position + count, dtype=np.int32)))
        if "logits_at" in inputs:
            given.append((inputs["logits_at"], np.array([count - 1], np.int32)))
        return given, graph, inputs, outputs, position, count

    def run(step):
        given, graph, inputs, outputs, position, count = step
        for place, array in given:
            native.SetTensor(place, array, graph)
        if position:
            left, _, made = signatures[last[0]]
            for name in cache:
                np.copyto(native.tensor(native, inputs[name], graph), native.tensor(native, made[name], left))
        native.Invoke(graph)
        last[0] = count
        return native.GetTensor(outputs["logits"], graph)

    return arrange, run
""",
    ),
    ".onnx": (
        "import onnxruntime",
        "int64",
        """
def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    pasts = {each.name: [1, each.shape[1], 0, each.shape[3]] for each in session.get_inputs() if "past" in each.name}
    empty = {name: np.zeros(sizes, np.float32) for name, sizes in pasts.items()}
    cache = [empty]

    def arrange(tokens, position):
        count = tokens.shape[1]
        given = {"input_ids": tokens, "position_ids": np.arange(position, position + count)[None]}
        return given | {"logits_at": np.array([count - 1])}, position

    def run(step):
        given, position = step
        logits, *present = session.run(names, given | (empty if position == 0 else cache[0]))
        cache[0] = dict(zip(pasts, present, strict=True))
        return logits

    return arrange, run
""",
    ),
    ".xml": (
        "sys.modules['openvino_telemetry'] = None\nimport openvino\ncore = openvino.Core()\ncore.get_versions('CPU')",
        "int64",
        """
def load(path):
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    # In two steps, as harness does to time both; in one it takes .9 MB less (OpenVINO 2026.4.1).
    request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()
    names = {name for port in request.model_inputs for name in port.get_names()}

    def arrange(tokens, position):
        count = tokens.shape[1]
        given = {"input_ids": tokens, "position_ids": np.arange(position, position + count)[None]}
        given |= {"beam_idx": np.zeros(1, np.int32), "logits_at": np.array([count - 1])}
        given["attention_mask"] = np.ones((1, position + count), np.int64)
        return {name: array for name, array in given.items() if name in names}, position

    def run(step):
        given, position = step
        if position == 0:
            request.reset_state()
        return request.infer(given, share_inputs=True)[0]

    return arrange, run
""",
    ),
}


def bare(model: Path, new: int, queries: int, output: IO[str]) -> subprocess.Popen[str]:
    """The loop of the model's runtime, stopped where it is about to measure."""
    imports, dtype, load = LOOPS[model.suffix]
    code = _FRAME.format(imports=imports, dtype=dtype, load=load, prompt=PROMPT, new=new)
    process = stoppable([sys.executable, "-P", "-c", code, str(model), str(queries)], output)
    os.waitpid(process.pid, os.WUNTRACED)
    return process


def worker(model: Path, new: int, queries: int, events: IO[str], measure: str = "latency") -> subprocess.Popen[str]:
    """A worker of harness on the same work."""
    job = Job(
        target="bench",
        model="bench",
        model_sha256="",
        scenario="generate",
        measure=measure,
        prompt_tokens=PROMPT,
        new_tokens=new,
        min_iterations=queries,
        min_duration_s=0,
        max_warmup_s=0.1,
    )
    process = stoppable([sys.executable, "-P", "-m", "harness.worker"], events)
    assert process.stdin is not None
    data = model.with_suffix(".bin")
    files = Files(model=str(model), data=str(data) if data.exists() else None)
    process.stdin.write(request_json(job, files) + "\n")
    process.stdin.flush()
    while os.fstat(events.fileno()).st_size == 0:
        time.sleep(0.05)  # until it says hello, its imports done
    return process


def read_events(file: IO[str]) -> list[dict[str, Any]]:
    """The events that a worker wrote; fails where it did not end well."""
    file.seek(0)
    events = [json.loads(line) for line in file]
    assert events[-1]["event"] == "done", events[-1]
    return events


def compare(model: Path, pairs: int, new: int, queries: int, turn_s: float) -> None:
    """Print what harness says of a file over what the loop says."""
    ours: dict[str, dict[int, float]] = {"prefill": {}, "decode": {}}
    theirs: dict[str, dict[int, float]] = {"prefill": {}, "decode": {}}
    over_idle = []
    for pair in range(pairs):
        with tempfile.TemporaryFile("w+") as events, tempfile.TemporaryFile("w+") as medians:

            def ours_first(events: IO[str] = events, medians: IO[str] = medians) -> list[subprocess.Popen[str]]:
                return [worker(model, new, queries, events), bare(model, new, queries, medians)]

            def theirs_first(events: IO[str] = events, medians: IO[str] = medians) -> list[subprocess.Popen[str]]:
                return [bare(model, new, queries, medians), worker(model, new, queries, events)]

            taking_turns((theirs_first if pair % 2 else ours_first)(), turn_s)
            medians.seek(0)
            said = json.loads(medians.read())
            for kind in ours:
                samples = [event["duration_ns"] for event in read_events(events) if event.get("phase") == kind]
                ours[kind][pair] = statistics.median(samples[0])
                theirs[kind][pair] = said[kind]
            over_idle.append(said["over_idle_bytes"])
    for kind in ours:
        times = " and ".join(f"{statistics.median(each[kind].values()) / 1e6:.3f} ms" for each in (ours, theirs))
        print(f"{model.name}, {kind}: harness / loop {shown(paired_ratio(ours[kind], theirs[kind]))} ({times})")
    with tempfile.TemporaryFile("w+") as events:
        worker(model, new, 1, events, "memory").wait()
        phases = {event["phase"]: event for event in read_events(events) if event["event"] == "memory"}
    ours_bytes = max(phase["peak_rss_bytes"] for phase in phases.values()) - phases["runtime"]["rss_bytes"]
    loop_bytes = statistics.median(over_idle)
    print(f"{model.name}, over idle: {ours_bytes / 1e6:.1f} MB, the loop {loop_bytes / 1e6:.1f} MB")


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--pairs", type=click.IntRange(min=5), default=8, show_default=True, help="Pairs of processes for each file."
)
@click.option("--queries", default=10, show_default=True, help="Prompts for each process.")
@click.option("--new", default=65, show_default=True, help="Tokens that follow each prompt, at least 2.")
@click.option("--turn", default=0.1, show_default=True, help="Seconds until it is the other process's turn.")
def main(models: tuple[Path, ...], pairs: int, queries: int, new: int, turn: float) -> None:
    """Compare harness with a bare loop of each model's runtime."""
    for model in models:
        if model.suffix not in LOOPS:
            raise click.UsageError(f"There is no loop for {model.name}, only for {', '.join(LOOPS)}.")
        compare(model, pairs, new, queries, turn)


if __name__ == "__main__":
    main()
