"""The driver's own calls, on a real GPU; skipped where there is none. `tox -e cuda` runs this with the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from models_on_disk import Models, make_models

from harness.errors import UsageError
from harness.job import Job
from harness.target import find_target
from harness.targets.cuda.gpus import ORDER, VARIABLE, choose, list_gpus
from harness.targets.cuda.missing import find_nvml
from harness.targets.cuda.target import Cuda

STATE = find_target("cuda").availability()
pytestmark = pytest.mark.skipif(not STATE.available, reason=f"no GPU to verify on: {STATE.reason}")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


def figures(text: str) -> list[dict[str, float | None]]:
    """Of each comparison that `harness run --json` printed, the value of every metric of its only model."""
    tables = json.loads(text)["data"]["comparisons"]
    return [{row["metric"]: row["models"][0]["value"] for row in table["metrics"]} for table in tables]


def _run(models: Models, folder: Path, *options: str) -> list[dict[str, float | None]]:
    model = ("--model", str(models.mlp_pt2), "--results", str(folder))
    command = (sys.executable, "-m", "harness", "run", "--target", "cuda", *model, *options)
    quick = ("--processes", "1", "--min-iterations", "20", "--min-duration", "0", "--json", "--quiet")
    ended = subprocess.run([*command, *quick], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return figures(ended.stdout)


def test_the_worker_runs_on_the_gpu_that_nvml_is_asked_about() -> None:
    gpus = list_gpus(find_nvml())
    gpu = choose(gpus, None, os.environ.get(VARIABLE), os.environ.get(ORDER))
    assert gpu is not None
    code = f"import os; os.environ[{VARIABLE!r}] = {gpu.uuid!r}; import torch; print(torch.cuda.get_device_name(0))"
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip().startswith(gpu.name.partition(" MIG ")[0])


def test_nvml_tells_what_every_gpu_can() -> None:
    found = {reading.name: reading for reading in Cuda().environment()}
    for name in ("gpu_model", "gpu_uuid", "gpu_driver", "gpu_memory_total_bytes", "gpu_memory_used_bytes"):
        assert found[name].value, found[name]


def test_memory_that_is_not_there_is_the_error_that_the_worker_knows() -> None:
    import torch

    from harness.worker.channel import failure

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, device="cuda")
    assert failure(caught.value, Job(target="cuda", model="m", model_sha256="0", scenario="offline")).kind == "memory"


@pytest.mark.parametrize("options", [(), ("--runtime", "graphs"), ("--compile",)], ids=["eager", "graphs", "compiled"])
def test_a_run_has_the_devices_time_and_memory(models: Models, tmp_path: Path, options: tuple[str, ...]) -> None:
    comparisons = _run(
        models, tmp_path, "--scenario", "offline", "--batch", "1,4", "--precision", "fp32,bf16", *options
    )
    assert len(comparisons) == 4
    for values in comparisons:
        assert values["batch_device_ns_p50"]
        assert values["peak_allocated_bytes"]
        assert values["device_bytes"]
        assert values["samples_per_s"]


def test_a_clock_is_held_and_put_back(models: Models, tmp_path: Path) -> None:
    nvml = find_nvml()
    gpu = choose(list_gpus(nvml), None, os.environ.get(VARIABLE), os.environ.get(ORDER))
    assert nvml is not None
    assert gpu is not None
    try:
        memory = max(nvml.nvmlDeviceGetSupportedMemoryClocks(gpu.board))
        clocks = sorted(nvml.nvmlDeviceGetSupportedGraphicsClocks(gpu.board, memory))
        with Cuda(clock=str(clocks[len(clocks) // 2])).adjusted():
            pass
    except (UsageError, nvml.NVMLError) as error:
        pytest.skip(f"this GPU's clock may not be set here: {error}")
    _run(models, tmp_path, "--clock", str(clocks[len(clocks) // 2]))
    import pandas as pd

    runs = pd.read_parquet(tmp_path / "runs")
    assert not any("clock_not_held" in flags for flags in runs["flags"])
