"""The worker of an accelerator on the processor: all of it but the driver's own calls."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models_on_disk import CONTEXT, HEADS, VOCABULARY, WIDTH, Models
from worker.driving import Said, ask, job

from harness.errors import ModelError, UsageError
from harness.job import Files, Job, request_json
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.protocol import Environment, Event, Progress, Scalar, decode, encode
from harness.scenarios.queries import Series
from harness.worker.channel import failure
from harness.worker.runtimes import executorch_cuda
from harness.worker.runtimes import torch as torch_runtime
from harness.worker.runtimes.accelerator import Cpu
from harness.worker.runtimes.device_probe import DeviceProbe, device_samples
from harness.worker.runtimes.precision import PRECISIONS, linear_weights
from harness.worker.runtimes.torch_cuda import TorchCuda

COMMAND = (sys.executable, "-P", "-m", "harness.worker", "cuda", "cpu")


def run(path: Path, asked: Job, **files: Path) -> Said:
    where = Files(model=str(path), **{name: str(file) for name, file in files.items()})
    return ask(request_json(asked, where) + "\n", COMMAND)


def _loaded(path: Path, device: Cpu | None = None, **fields: Any) -> Any:
    runtime = TorchCuda(device or Cpu())
    return runtime.load(path, job(**fields), Files(model=str(path)))


def _gpt(models: Models) -> GPT:
    """The model of `lm_pt2`, from its weights and by no export."""
    shape = GPTConfig(vocabulary_size=VOCABULARY, context=CONTEXT, layers=1, heads=HEADS, width=WIDTH)
    gpt = GPT(shape).eval()
    with np.load(models.folder / "lm_pt2.npz") as weights:
        gpt.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
    return gpt


def test_the_loss_of_graphs_is_that_of_the_model_and_the_cache_agrees(models: Models, tmp_path: Path) -> None:
    tokens = np.random.default_rng(3).integers(VOCABULARY, size=3 * CONTEXT + 1)
    np.save(tmp_path / "tokens.npy", tokens)
    asked = job("generate", "quality", prompt_tokens=3, new_tokens=4, runtime="graphs")
    said = run(models.lm_pt2, asked, tokens=tmp_path / "tokens.npy")
    found = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    windows = torch.from_numpy(tokens[:-1].reshape(3, CONTEXT)), torch.from_numpy(tokens[1:])
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(_gpt(models)(windows[0]).flatten(0, 1), windows[1])
    assert found["loss_nats"] == pytest.approx(float(expected), abs=1e-5)
    assert abs(found["loss_nats"] - np.log(VOCABULARY)) > 0.05, "no uniform guess, which any defect would give too"
    assert found["predicted_tokens"] == 3 * CONTEXT
    assert found["max_abs_difference_between_methods"] < 1e-4


def test_a_batch_that_is_too_large_is_named(models: Models) -> None:
    said = run(models.mlp_pt2, job("offline", batch=1 << 44, input_sizes=((1 << 44, WIDTH),)))
    assert said.error.kind == "memory"
    assert f"batch {1 << 44}" in said.error.message


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "memory", "at batch 64: CUDA out"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "memory", "at batch 64"),
        (MemoryError(), "memory", "ran out of memory at batch 64."),
        (RuntimeError("mat1 and mat2 must have the same dtype\nmore"), "runtime", "RuntimeError: mat1 and mat2 must"),
        (ValueError(), "runtime", "ValueError."),
    ],
)
def test_what_a_runtime_raises_becomes_a_sentence(error: Exception, kind: str, words: str) -> None:
    said = failure(error, job(batch=64))
    assert said.kind == kind
    assert words in said.message
    assert said.message.endswith(".")
    assert "\n" not in said.message


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("runtime", ["eager", "graphs"])
def test_each_precision_computes_the_model_in_its_own_numbers(models: Models, precision: str, runtime: str) -> None:
    tokens, start = torch.arange(CONTEXT).reshape(1, -1) % VOCABULARY, torch.tensor([0])
    expected = _gpt(models)(tokens).detach()
    model = _loaded(models.lm_pt2, precision=precision, runtime=runtime)
    [whole] = model.execute((tokens, start))
    difference = float((whole.float() - expected).abs().max() / expected.std())
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.bfloat16}.get(precision, torch.float32)
    assert whole.dtype == dtype
    assert difference < {"fp16": 0.02, "bf16": 0.1, "int8": 0.2}.get(precision, 1e-4)
    # Token by token, so that a cache of the wrong kind would show.
    parts = [model.execute((tokens[:, i : i + 1], torch.tensor([i])))[0].clone() for i in range(CONTEXT)]
    assert float((torch.cat(parts, 1) - whole).abs().max() / expected.std()) < {"fp16": 0.02, "fp32": 1e-4}.get(
        precision, 0.2
    )


def test_int8_is_not_what_bf16_computes_and_only_linear_weights_are_turned(models: Models) -> None:
    tokens, start = torch.arange(CONTEXT).reshape(1, -1), torch.tensor([0])
    bf16, int8 = (_loaded(models.lm_pt2, precision=name).execute((tokens, start))[0] for name in ("bf16", "int8"))
    assert not torch.equal(bf16, int8)
    module = torch_runtime.open_program(models.lm_pt2)[0].module()
    names = linear_weights(module)
    assert len(names) == 7  # queries, keys, values, proj, fc, out, head
    assert not any("norm" in name or "tokens" in name for name in names)


def test_graphs_follow_their_inputs_and_shapes(models: Models) -> None:
    eager, graphs = _loaded(models.mlp_pt2), _loaded(models.mlp_pt2, runtime="graphs")
    for rows in (2, 3, 2, 4):
        x = torch.randn(rows, WIDTH)
        torch.testing.assert_close(graphs.execute((x,))[0], eager.execute((x,))[0])


def test_products_are_rounded_to_tf32_only_where_that_was_asked(models: Models) -> None:
    for precision, allowed in (("tf32", "high"), (None, "highest"), ("fp32", "highest"), ("bf16", "highest")):
        _loaded(models.mlp_pt2, precision=precision)
        assert torch.get_float32_matmul_precision() == allowed
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")


class _Gpu(Cpu):
    """One that cannot capture, in the words of CUDA."""

    def capture(self, run: Callable[[], Sequence[Any]]) -> tuple[Callable[[], object], Sequence[Any]]:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


def test_what_cannot_be_captured_says_what_to_leave_out(models: Models) -> None:
    model = _loaded(models.mlp_pt2, _Gpu(), runtime="graphs")
    with pytest.raises(ModelError, match=r"cannot be captured as a graph: CUDA error.*Leave out --runtime graphs"):
        model.execute((torch.zeros(2, WIDTH),))


@pytest.mark.parametrize("fields", [{"precision": "fp4"}, {"runtime": "tensorrt"}])
def test_what_there_is_not_is_refused(models: Models, fields: dict[str, str]) -> None:
    error = run(models.mlp_pt2, job(**fields)).error
    assert (error.kind, "There is no" in error.message) == ("usage", True)


def test_int8_needs_a_linear_layer(tmp_path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x

    torch.export.save(torch.export.export(Twice(), (torch.ones(2, 2),)), tmp_path / "twice.pt2")
    with pytest.raises(ModelError, match="no linear layer"):
        _loaded(tmp_path / "twice.pt2", precision="int8")


def test_a_pte_that_would_run_on_the_processor_is_refused(models: Models) -> None:
    with pytest.raises(ModelError, match="nothing for the delegate CudaBackend"):
        executorch_cuda.load(models.mlp, job(), Files(model=str(models.mlp)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_cannot_use_is_an_error_in_torchs_words() -> None:
    with pytest.raises(UsageError, match=r"cannot use the GPU: .*`harness targets`"):
        TorchCuda().start("cuda")


def test_device_times_are_those_of_the_calls_in_order() -> None:
    phases = {
        "ttft": Series([0, 100], [15, 15]),
        "prefill": Series([1, 101], [10, 10]),
        "decode": Series([20, 30, 120, 130], [5, 5, 5, 5]),
        "generate": Series([0, 100], [40, 40]),
    }
    found = {event.phase: event for event in device_samples(phases, [9, 4, 3, 8, 2, 1])}
    assert found["prefill_device"].duration_ns == [9, 8]
    assert found["decode_device"].duration_ns == [4, 3, 2, 1]
    assert found["decode_device"].start_ns == [20, 30, 120, 130]
    assert device_samples(phases, [9, 4, 3]) == [], "which is which is not known"
    assert device_samples({"generate": Series([0], [40])}, []) == []


class _Warm(Cpu):
    def state(self) -> list[Scalar]:
        return [
            Scalar(name="device_clock_mhz", value=1410.0),
            Scalar(name="device_temperature_celsius", value=61.0),
            Scalar(name="device_power_watts", value=None, reason="NVML: Not Supported"),
        ]


def test_during_long_jobs_the_devices_state_is_told_beside_the_hosts() -> None:
    told: list[Event] = []
    emit = DeviceProbe(_Warm()).adding_state(told.append)
    host = [{"name": "temperature_celsius", "value": "40"}, {"name": "clock_s", "value": "1"}]
    emit(Environment(moment="minute 1", readings=host))
    emit(Progress(done=1, total=2))
    minute, progress = told
    assert isinstance(minute, Environment)
    assert isinstance(progress, Progress)
    assert decode(encode(minute)) == minute
    assert {reading["name"]: reading.get("value") for reading in minute.readings} == {
        "host_temperature_celsius": "40",
        "clock_s": "1",
        "device_clock_mhz": "1410",
        "temperature_celsius": "61",
        "device_power_watts": None,
    }


@pytest.mark.parametrize(
    "said", ['["get_vocab_size"]', '{"get_vocab_size": "__import__(1)"}', '{"a": null}', "rubbish", '{"a": 1.5}']
)
def test_metadata_that_is_none_is_refused(models: Models, tmp_path: Path, said: str) -> None:
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(models.lm_pt2) as archive, zipfile.ZipFile(bad, "w") as made:
        for name in archive.namelist():
            made.writestr(name, said if name.endswith("metadata.json") else archive.read(name))
    with pytest.raises(ModelError):
        torch_runtime.describe(bad)


def test_metadata_is_that_of_executorch(models: Models) -> None:
    said = torch_runtime.describe(models.lm_pt2)
    assert said.metadata["get_vocab_size"] == VOCABULARY
    assert said.metadata["use_kv_cache"] is True
    assert said.methods[0]["inputs"][0]["sizes"] == [1, CONTEXT]
    assert json.loads(json.dumps(said.metadata)) == said.metadata


def test_every_name_of_torchs_that_a_gpu_needs_is_there() -> None:
    names = ("init", "synchronize", "Event", "Stream", "current_stream", "stream", "CUDAGraph", "graph")
    memory = ("mem_get_info", "max_memory_allocated", "max_memory_reserved", "reset_peak_memory_stats")
    assert all(hasattr(torch.cuda, name) for name in (*names, *memory, "clock_rate", "power_draw", "temperature"))
