"""harness's figures of a `.gguf` against two others on the same file, as ratios of alternated processes: a bare loop
over `llama_decode`, and llama-bench, which is built here from the source of the installed llama-cpp-python.

    python tests/bench/llama_bench.py baseline.gguf --cpu 1
    python tests/bench/llama_bench.py baseline.gguf --source llama_cpp_python-0.3.36.tar.gz

Asserts nothing, since machines are noisy. Asked: 1.00 +- 0.02 of the bare loop for prefill and decode, 3 % of its
memory, 5 % of llama-bench's tokens/s.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click
from overhead import shown

from harness.folders import cache_folder
from harness.job import Files, Job, request_json
from harness.manifest import sha256_file
from harness.statistics.ratio import paired_ratio

Figures = dict[str, float]

# Prompt and new tokens as a scenario has them, with nothing in between; the new tokens are the same, since what is
# computed of a token does not depend on it.
BARE = """
import ctypes, gc, json, os, statistics, sys, time
from pathlib import Path
path, seconds, turns = sys.argv[1], float(sys.argv[5]), sys.argv[6]
prompt, new, threads = map(int, sys.argv[2:5])
os.environ["GOMP_SPINCOUNT"] = turns
from llama_cpp import llama_cpp as lib
quiet = lib.llama_log_callback(lambda level, text, data: None)
lib.llama_log_set(quiet, None)
lib.llama_backend_init()

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

Path("/proc/self/clear_refs").write_text("5")
idle = memory("VmRSS")
model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
params = lib.llama_context_default_params()
params.n_ctx = params.n_batch = lib.llama_model_n_ctx_train(model)
params.n_threads = params.n_threads_batch = threads
context = lib.llama_init_from_model(model, params)
cache = lib.llama_get_memory(context)
token = (ctypes.c_int32 * 1)(7)
tokens = (ctypes.c_int32 * prompt)(*(index % 50 for index in range(prompt)))
prompt_batch = lib.llama_batch(n_tokens=prompt, token=tokens, pos=(ctypes.c_int32 * prompt)(*range(prompt)))
steps = [lib.llama_batch(n_tokens=1, token=token, pos=(ctypes.c_int32 * 1)(prompt + step)) for step in range(new - 1)]
clock, decode, logits = time.perf_counter_ns, lib.llama_decode, lib.llama_get_logits_ith

def query(prefill, decoded):
    start = clock()
    lib.llama_memory_clear(cache, False)
    assert decode(context, prompt_batch) == 0
    logits(context, -1)
    prefill.append(clock() - start)
    for batch in steps:
        start = clock()
        assert decode(context, batch) == 0
        logits(context, -1)
        decoded.append(clock() - start)

begin = clock()
while clock() - begin < 1e9 * min(2.0, seconds):
    query([], [])
gc.collect(); gc.disable()
prefill, decoded = [], []
begin = clock()
while clock() - begin < 1e9 * seconds or len(prefill) < 30:
    query(prefill, decoded)
print(json.dumps({
    "prefill, ns": statistics.median(prefill), "decode, ns": statistics.median(decoded),
    "memory over idle, bytes": memory("VmHWM") - idle,
}))
"""


def bare(model: Path, prompt: int, new: int, threads: int, seconds: float, pin: Callable[[], None]) -> Figures:
    """Medians of a loop in a process of its own."""
    words = [str(model), str(prompt), str(new), str(threads), str(seconds), "10000"]
    return dict(json.loads(_output([sys.executable, "-P", "-c", BARE, *words], pin)))


def ours(model: Path, prompt: int, new: int, threads: int, seconds: float, pin: Callable[[], None]) -> Figures:
    """Medians of harness's own worker, and the memory of another."""
    figures: Figures = {}
    for measure in ("latency", "memory"):
        job = Job(
            target="bench",
            model=model.stem,
            model_sha256=sha256_file(model),
            scenario="generate",
            measure=measure,
            runtime="llama.cpp",
            threads=threads,
            prompt_tokens=prompt,
            new_tokens=new,
            min_duration_s=seconds,
        )
        request = request_json(job, Files(model=str(model))) + "\n"
        printed = _output([sys.executable, "-P", "-m", "harness.worker"], pin, request)
        events = [json.loads(line) for line in printed.splitlines()]
        if measure == "memory":
            phases = {event["phase"]: event for event in events if event["event"] == "memory"}
            peak = max(event["peak_rss_bytes"] for phase, event in phases.items() if phase != "runtime")
            figures["memory over idle, bytes"] = peak - phases["runtime"]["rss_bytes"]
        for phase in ("prefill", "decode"):
            durations = [ns for event in events if event.get("phase") == phase for ns in event["duration_ns"]]
            if durations:
                figures[f"{phase}, ns"] = statistics.median(durations)
    return figures


def llama_bench(
    program: Path, model: Path, prompt: int, new: int, threads: int, repetitions: int, pin: Callable[[], None]
) -> Figures:
    """Nanoseconds of a prompt, and of a token behind it: its median over repetitions."""
    figures = {}
    for name, words, tokens in (
        ("prefill, ns", ["-p", prompt, "-n", 0], 1),
        ("decode, ns", ["-p", 0, "-n", new - 1, "-d", prompt], new - 1),
    ):
        options = ["-t", threads, "-r", repetitions, "-ngl", 0, "-o", "json", "-m", model]
        (row,) = json.loads(_output([str(program), *map(str, [*words, *options])], pin))
        figures[name] = statistics.median(row["samples_ns"]) / tokens
    return figures


def build(source: Path | None) -> Path:
    """llama-bench of the installed version, built once; a quarter of an hour of one processor. `source` is its source
    archive, for where pip cannot fetch it.
    """
    number = version("llama_cpp_python")
    folder = cache_folder() / "llama-bench" / number
    program = folder / "build" / "bin" / "llama-bench"
    if program.exists():
        return program
    if not (folder / "source").exists():  # else a build was interrupted, and goes on
        _unpack(source, number, folder)
    off = [f"-DLLAMA_BUILD_{part}=OFF" for part in ("SERVER", "TESTS", "EXAMPLES", "UI", "APP")]
    configure = ["cmake", "-S", folder / "source", "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", *off]
    subprocess.run([*configure, "-DLLAMA_OPENSSL=OFF"], check=True, stdout=subprocess.DEVNULL)
    jobs = str(len(os.sched_getaffinity(0)))
    subprocess.run(["cmake", "--build", folder / "build", "--target", "llama-bench", "-j", jobs], check=True)
    return program


def _unpack(source: Path | None, number: str, folder: Path) -> None:
    """llama.cpp's source of that version of llama-cpp-python, as `source` in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        if source is None:
            wanted = [f"llama-cpp-python=={number}", "--no-binary", "llama-cpp-python", "--no-deps"]
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", scratch, *wanted], check=True)
            source = next(Path(scratch).glob("*.tar.gz"))
        if number not in source.name:
            raise click.UsageError(f"{source.name} is not the source of llama-cpp-python {number}, which is installed.")
        with tarfile.open(source) as archive:
            archive.extractall(scratch, filter="data")
        folder.mkdir(parents=True, exist_ok=True)
        (vendored,) = Path(scratch).glob("*/vendor/llama.cpp")
        shutil.move(vendored, folder / "source")


def _output(command: list[str], pin: Callable[[], None], given: str = "") -> str:
    ended = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=pin,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return ended.stdout


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--prompt", default=128, show_default=True, help="Tokens of the prompt.")
@click.option("--new", default=33, show_default=True, help="New tokens; the first comes from the prompt.")
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(min=5), default=8, show_default=True, help="Processes of each.")
@click.option("--seconds", default=3.0, show_default=True, help="Measured by each process.")
@click.option("--cpu", type=int, multiple=True, help="Pin all of them to it; repeat it for several.")
@click.option("--source", type=click.Path(path_type=Path, exists=True), help="Source archive of llama-cpp-python.")
@click.option("--bench/--no-bench", default=True, help="Build llama-bench and compare with it too.")
def main(
    model: Path,
    prompt: int,
    new: int,
    threads: int,
    rounds: int,
    seconds: float,
    cpu: tuple[int, ...],
    source: Path | None,
    bench: bool,
) -> None:
    """Print the ratios of harness's medians to those of the others."""

    def pin() -> None:
        if cpu:
            os.sched_setaffinity(0, cpu)

    common = (model.resolve(), prompt, new, threads)
    kinds: dict[str, Callable[[], Figures]] = {
        "harness": lambda: ours(*common, seconds, pin),
        "bare loop": lambda: bare(*common, seconds, pin),
    }
    if bench:
        program = build(source)
        kinds["llama-bench"] = lambda: llama_bench(program, *common, 30, pin)
    seen: dict[str, dict[int, Figures]] = {kind: {} for kind in kinds}
    for number in range(rounds):
        order = list(kinds)
        order = order[number % len(order) :] + order[: number % len(order)]  # each is first in turn
        for kind in order:
            seen[kind][number] = kinds[kind]()
    for other in list(kinds)[1:]:
        for name in seen[other][0]:
            own, others = ({n: figures[name] for n, figures in seen[kind].items()} for kind in ("harness", other))
            medians = " and ".join(f"{statistics.median(values.values()):,.0f}" for values in (own, others))
            print(f"{name}: harness / {other}: {shown(paired_ratio(own, others))} (medians {medians}; {rounds} rounds)")


if __name__ == "__main__":
    main()
