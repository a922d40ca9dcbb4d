"""The Python worker as a process: what it says, in which order, for every pass and scenario, and when it cannot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.processes import alive, ends
from models_on_disk import BATCH, VOCABULARY, WIDTH, Models
from worker.driving import COMMAND, ask, job, run, run_forked

from harness.job import Files, request_json
from harness.protocol import Describe, Done, Error, Hello, Io, Loaded, Memory, Output, Samples, Scalar
from harness.worker.channel import LoadError, failure
from harness.worker.inputs import make_inputs


def _mlp(models: Models, x: np.ndarray) -> np.ndarray:
    """The model computed without torch."""
    w = np.load(models.folder / "mlp.npz")
    return np.maximum(x @ w["0.weight"].T + w["0.bias"], 0) @ w["2.weight"].T + w["2.bias"]


def _monotone(samples: Samples) -> bool:
    ends = [start + duration for start, duration in zip(samples.start_ns, samples.duration_ns, strict=True)]
    return all(d > 0 for d in samples.duration_ns) and all(
        a <= b for a, b in zip(ends, samples.start_ns[1:], strict=False)
    )


def test_describe_tells_inputs_constants_and_delegates(models: Models) -> None:
    said = run(models.lm, job("describe", "describe"))
    assert said.order == ["hello", "describe", "done"]
    assert {"python", "torch", "executorch"} <= said.one(Hello).versions.keys()
    description = said.one(Describe)
    (forward,) = description.methods
    assert forward["inputs"] == [
        {"kind": "tensor", "dtype": "int64", "sizes": [1, 7], "dynamic": True, "limit": VOCABULARY}
        | {"longest": VOCABULARY},
        {"kind": "tensor", "dtype": "int64", "sizes": [1], "dynamic": False},
    ]
    assert forward["outputs"] == [{"kind": "tensor", "dtype": "float32", "sizes": [1, VOCABULARY]}]
    assert (description.format, description.delegates) == ("pte", ["XnnpackBackend"])
    assert description.metadata["get_vocab_size"] == VOCABULARY
    assert description.metadata["use_kv_cache"] is True
    assert said.code == 0


def test_single_stream_on_a_pinned_cpu(models: Models) -> None:
    cpu = max(os.sched_getaffinity(0))
    said = run(models.mlp, job(cpus=(cpu,), batch=BATCH))
    assert said.order == [
        "hello",
        "loaded",
        "io",
        "samples first",
        "samples warmup",
        "scalar",
        "scalar",
        "samples steady",
        "done",
    ]
    assert said.one(Hello).device["cpus"] == [cpu]
    assert len(said.samples("first").start_ns) == 1
    assert len(said.samples("warmup").start_ns) >= 1
    steady = said.samples("steady")
    assert len(steady.start_ns) == 4
    assert all(_monotone(samples) for samples in said.all(Samples))
    assert said.samples("first").start_ns[0] < said.samples("warmup").start_ns[0] < steady.start_ns[0]
    assert {scalar.name: scalar.value for scalar in said.all(Scalar)} == {"warmup_steady": 0.0, "queries": 4.0}
    loaded = said.one(Loaded)
    assert loaded.program_bytes == models.mlp.stat().st_size
    assert loaded.planned_bytes == json.loads((models.folder / "arenas.json").read_text())["mlp.pte"]
    assert said.one(Io).asked_bytes == models.mlp.stat().st_size


def test_offline_asks_batches_of_a_pt2_and_is_not_pinned_unless_told(models: Models) -> None:
    said = run(models.mlp_pt2, job("offline", batch=2, input_sizes=((2, WIDTH),), min_iterations=5))
    assert said.order == [
        "hello",
        "loaded",
        "io",
        "samples first",
        "samples warmup",
        "scalar",
        "scalar",
        "samples batch",
        "done",
    ]
    assert len(said.samples("batch").start_ns) == 5
    assert _monotone(said.samples("batch"))
    assert said.one(Hello).device["cpus"] == sorted(os.sched_getaffinity(0))
    assert said.one(Loaded).planned_bytes is None


def test_generate_times_each_token_and_each_query(models: Models) -> None:
    said = run(models.lm, job("generate", prompt_tokens=5, new_tokens=4, min_iterations=3))
    assert said.order == [
        "hello",
        "loaded",
        "io",
        "samples first",
        "samples warmup",
        "scalar",
        "scalar",
        "samples ttft",
        "samples prefill",
        "samples decode",
        "samples generate",
        "done",
    ]
    counts = {samples.phase: len(samples.start_ns) for samples in said.all(Samples)}
    # The first of the four new tokens comes out of the prefill.
    assert {phase: counts[phase] for phase in ("ttft", "prefill", "decode", "generate")} == {
        "ttft": 3,
        "prefill": 3,
        "decode": 9,
        "generate": 3,
    }
    ttft, prefill, decode, whole = (said.samples(phase) for phase in ("ttft", "prefill", "decode", "generate"))
    assert all(_monotone(samples) for samples in (ttft, prefill, decode, whole))
    for query in range(3):
        steps = decode.duration_ns[3 * query : 3 * query + 3]
        assert prefill.duration_ns[query] <= ttft.duration_ns[query]
        assert ttft.duration_ns[query] + sum(steps) <= whole.duration_ns[query]
        assert whole.start_ns[query] <= prefill.start_ns[query] < decode.start_ns[3 * query]


def test_cold_start_infers_once(models: Models) -> None:
    said = run(models.mlp, job("cold-start", batch=BATCH))
    # What follows the first inference is the warm start beside it: tests/worker/test_load.py.
    assert said.order == ["hello", "loaded", "io", "samples first", "scalar", "scalar", "io", "scalar", "done"]
    assert len(said.samples("first").start_ns) == 1


def test_memory_is_told_at_the_end_of_each_phase_and_nothing_is_timed(models: Models) -> None:
    said = run(models.mlp, job(measure="memory", batch=BATCH))
    assert said.order == ["hello", "memory", "loaded", "memory", "memory", "memory", "done"]
    phases = {memory.phase: memory for memory in said.all(Memory)}
    assert list(phases) == ["runtime", "load", "first", "steady"]
    for memory in phases.values():
        assert memory.rss_bytes is not None
        assert memory.peak_rss_bytes is not None
        assert memory.pss_bytes is not None
        assert 10_000_000 < memory.pss_bytes <= memory.rss_bytes <= memory.peak_rss_bytes


@pytest.mark.parametrize("suffix", [".pte", ".pt2"])
def test_outputs_are_those_of_the_given_inputs(models: Models, tmp_path: Path, suffix: str) -> None:
    x = np.random.default_rng(3).normal(size=(3, WIDTH)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    said = run_forked(
        models.folder / f"mlp{suffix}", job(measure="quality", batch=3), inputs=tmp_path / "inputs.npz", output=tmp_path
    )
    assert said.order == ["hello", "loaded", "io", "output", "done"]
    with np.load(said.one(Output).file) as outputs:
        assert outputs.files == ["set0_output0"]
        np.testing.assert_allclose(outputs["set0_output0"], _mlp(models, x), rtol=1e-4, atol=1e-5)


def test_outputs_without_inputs_are_those_of_eight_made_sets_the_same_in_any_process(
    models: Models, tmp_path: Path
) -> None:
    asked = job(measure="quality", batch=2, input_sizes=((2, WIDTH),))
    said = run_forked(models.mlp, asked, output=tmp_path)
    inputs = [{"dtype": "float32", "sizes": [BATCH, WIDTH]}]
    methods = [{"name": "forward", "inputs": inputs, "outputs": []}]
    described = Describe(format="pte", methods=methods, metadata={}, delegates=[])
    with np.load(said.one(Output).file) as outputs:
        assert outputs.files == [f"set{seed}_output0" for seed in range(8)]
        for seed in range(8):
            (made,) = make_inputs(asked, described, None, seed)
            assert made.shape == (2, WIDTH)
            np.testing.assert_allclose(outputs[f"set{seed}_output0"], _mlp(models, made.numpy()), rtol=1e-4, atol=1e-5)


def _reference_loss(weights: dict[str, np.ndarray], tokens: np.ndarray) -> float:
    """The whole window at once in plain torch, float64: no cache, no runtime of ours."""
    import torch

    w = {name: torch.from_numpy(array).double() for name, array in weights.items() if array.dtype == np.float32}
    ids = torch.from_numpy(tokens)
    n, heads = len(ids) - 1, 2
    x = w["tokens.weight"][ids[:-1]] + w["positions.weight"][:n]
    q, k, v = ((x @ w[f"{name}.weight"].T).view(n, heads, -1).transpose(0, 1) for name in "qkv")
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(n, -1)
    logits = (x + mixed) @ w["head.weight"].T + w["head.bias"]
    return float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))


def test_loss_of_a_language_model_is_that_of_plain_torch(models: Models, tmp_path: Path) -> None:
    tokens = np.random.default_rng(5).integers(0, VOCABULARY, 27)  # three windows of eight, and two tokens left over
    np.save(tmp_path / "tokens.npy", tokens)
    said = run_forked(models.lm, job("generate", "quality"), tokens=tmp_path / "tokens.npy")
    assert said.order == ["hello", "loaded", "io", "scalar", "scalar", "done"]
    values = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    assert values["predicted_tokens"] == 24
    with np.load(models.folder / "lm.npz") as weights:
        total = sum(_reference_loss(dict(weights), tokens[8 * i : 8 * i + 9]) for i in range(3))
    assert values["loss_nats"] == pytest.approx(total / 24, abs=1e-5)
    assert abs(total / 24 - np.log(VOCABULARY)) > 0.1  # the model is no uniform guess, which any bug would also give


def test_the_runtimes_are_given_the_threads_of_the_job(models: Models) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from harness.runtime import runtime_for; from harness.job import Files, Job\n"
        "from executorch.extension.pybindings import _C\n"
        "job = Job(target='x86', model='m', model_sha256='0', scenario='single-stream', threads=3)\n"
        "paths = [Path(path) for path in sys.argv[1:]]\n"
        "models = [runtime_for(path, 'cpu').load(path, job, Files(model=str(path))) for path in paths]\n"
        "print(_C._threadpool_get_thread_count(), torch.get_num_threads())"
    )
    command = [sys.executable, "-P", "-c", code, str(models.mlp), str(models.mlp_pt2)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.stdout.split() == ["3", "3"], said.stderr


@pytest.mark.parametrize(
    ("model", "fields", "kind", "words"),
    [
        ("mlp.pte", {"scenario": "generate"}, "usage", "no language model"),
        ("mlp.pte", {"input_sizes": ((BATCH + 1, WIDTH),)}, "runtime", "failed to run"),
        ("mlp.pte", {"cpus": (4095,)}, "usage", "4095"),
        ("mlp.pte", {"cpus": (min(os.sched_getaffinity(0)), 4095)}, "usage", "4095"),
        ("absent.pte", {}, "model", "does not exist"),
        ("lm.npz", {}, "model", "of no format"),
        ("cut.pt2", {}, "model", "torch refuses"),
        ("empty.pt2", {}, "model", "no .pt2 archive or is damaged"),
    ],
)
def test_what_cannot_be_done_is_an_error_event(
    models: Models, tmp_path: Path, model: str, fields: dict[str, object], kind: str, words: str
) -> None:
    bad = {"empty.pt2": b"", "cut.pt2": models.mlp_pt2.read_bytes()[:-300]}
    path = models.folder / model
    if model in bad:
        path = tmp_path / model
        path.write_bytes(bad[model])
    said = run_forked(path, job(**{"batch": 1, **fields}))  # type: ignore[arg-type]
    assert said.error.kind == kind
    assert words in said.error.message
    assert said.code == 0


def test_a_request_that_is_none_is_answered_with_error(models: Models) -> None:
    request = json.loads(request_json(job(), Files(model=str(models.mlp))))
    request["job"]["warp_factor"] = 9
    said = ask(json.dumps(request) + "\n")
    assert said.error.kind == "usage"
    assert "warp_factor" in said.error.message
    for line in ("", "rubbish\n", "{}\n", "[]\n"):
        assert ask(line).error.kind == "usage"


@pytest.mark.parametrize("missing", ["scenario", "target"])
def test_a_request_that_lacks_a_field_is_the_users_error_too(models: Models, missing: str) -> None:
    request = json.loads(request_json(job(), Files(model=str(models.mlp))))
    del request["job"][missing]
    said = ask(json.dumps(request) + "\n")
    assert missing in said.error.message
    assert said.error.kind == "usage"


def test_what_libraries_print_on_standard_output_does_not_break_the_stream(models: Models) -> None:
    code = (
        "import os, sys\n"
        "from harness.worker import __main__ as worker; from harness.worker.runtimes import executorch as runtime\n"
        "quiet = runtime.describe\n"
        "def loud(path):\n"
        "    print('printed by Python'); os.write(1, b'written by C\\n'); os.system('echo printed by a child')\n"
        "    sys.__stdout__.write('no newline'); return quiet(path)\n"
        "runtime.describe = loud; worker.main()"
    )
    said = ask(
        request_json(job("describe", "describe"), Files(model=str(models.mlp))) + "\n",
        (sys.executable, "-P", "-c", code),
    )
    assert said.order == ["hello", "describe", "done"]
    assert all(words in said.stderr for words in ("printed by Python", "written by C", "printed by a child"))


def test_a_harness_that_is_gone_ends_the_worker(models: Models) -> None:
    """Its standard output is closed before it has said anything."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(request_json(job(min_duration_s=300.0), Files(model=str(models.mlp))).encode() + b"\n")
    process.stdin.close()
    assert process.wait(60) == 1


def test_a_worker_dies_with_its_parent_even_by_kill_9(models: Models) -> None:
    code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-P', '-m', 'harness.worker'], stdin=subprocess.PIPE, "
        "stdout=subprocess.PIPE, "
        "stderr=subprocess.DEVNULL, start_new_session=True, text=True)\n"
        "worker.stdin.write(sys.argv[1] + '\\n'); worker.stdin.flush()\n"
        "print(worker.pid, worker.stdout.readline(), flush=True); time.sleep(300)"
    )
    request = request_json(job(batch=1, min_duration_s=300.0, max_duration_s=300.0), Files(model=str(models.mlp)))
    # Both ends of its pipes stay open elsewhere or are never touched, so nothing but the kernel can tell the worker.
    parent = subprocess.Popen([sys.executable, "-P", "-c", code, request], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, _, hello = parent.stdout.readline().partition(" ")
    assert json.loads(hello)["event"] == "hello"
    assert alive(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ends(int(pid), 20.0)  # it may be importing, or loading the model, when the pipe is closed


def test_a_compiled_pt2_gives_the_same_outputs(models: Models, tmp_path: Path) -> None:
    if "HARNESS_TEST_COMPILE" not in os.environ:
        pytest.skip("compiling takes a minute of C++; set HARNESS_TEST_COMPILE=1 to run it")
    if not (shutil.which("c++") or shutil.which("g++")):
        pytest.skip("torch.compile needs a C++ compiler, and none is found")
    x = np.random.default_rng(4).normal(size=(2, WIDTH)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    said = run(
        models.mlp_pt2, job(measure="quality", compile=True, batch=2), inputs=tmp_path / "inputs.npz", output=tmp_path
    )
    assert isinstance(said.events[-1], Done), [e for e in said.events if isinstance(e, Error)]
    with np.load(tmp_path / "outputs.npz") as outputs:
        np.testing.assert_allclose(outputs["set0_output0"], _mlp(models, x), rtol=1e-4, atol=1e-5)


def test_what_a_runtime_raises_while_it_loads_is_not_blamed_on_inputs() -> None:
    loading = LoadError()
    loading.__cause__ = RuntimeError("unknown operator acme::mul")
    told = failure(loading, job())
    assert told.message == "The model failed to load: RuntimeError: unknown operator acme::mul."
    assert told.todo.startswith("Export it again with the version of the runtime that is installed here; ")
    assert "nputs" not in told.message + told.todo
    running = failure(RuntimeError("index out of range"), job())
    assert running.message.startswith("The model failed to run: RuntimeError: index out of range. Its inputs were made")
