"""What targets keep that have a device of their own: whatever it computes in and however it is launched, the model is
the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contract.test_target_contract import _job, _launch, _model
from models_on_disk import Models

from harness.errors import UsageError
from harness.job import Files
from harness.protocol import Done, Event, Memory, Scalar
from harness.target import Target, find_target

# Of the largest output: 8 bits of fraction have 0.4 % a rounding, int8 weights as much a weight.
TOLERANCE = {"fp32": 1e-5, "tf32": 5e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 1e-1}


@pytest.fixture
def device(target: Target) -> Target:
    if not target.capabilities.device_time:
        pytest.skip(f"{target.name} has no device beside the processor")
    return target


def _outputs(target: Target, models: Models, folder: Path, **fields: str) -> np.ndarray:
    path = _model(target, models, "single-stream")
    folder.mkdir()
    job = _job(target, path, "single-stream", "quality", **fields)
    events, _ = _launch(target, job, Files(model=str(path), output=str(folder)))
    assert isinstance(events[-1], Done), events[-1]
    with np.load(folder / "outputs.npz") as arrays:
        return np.concatenate([arrays[name].ravel() for name in sorted(arrays.files)])


def test_every_precision_computes_the_model(device: Target, models: Models, tmp_path: Path) -> None:
    plain = _outputs(device, models, tmp_path / "plain")
    assert np.ptp(plain) > 0.1
    for precision in device.capabilities.precisions:
        found = _outputs(device, models, tmp_path / precision, precision=precision)
        assert np.abs(found - plain).max() <= TOLERANCE[precision] * np.abs(plain).max(), precision


def test_graphs_compute_what_calls_do(device: Target, models: Models, tmp_path: Path) -> None:
    try:
        find_target(device.name, runtime="graphs")
    except UsageError:
        pytest.skip(f"{device.name} has no graphs")
    plain, graphs = (_outputs(device, models, tmp_path / name, runtime=name) for name in ("eager", "graphs"))
    np.testing.assert_allclose(graphs, plain, rtol=1e-5, atol=1e-6)


def test_memory_of_the_device_is_told_in_every_phase_or_why_not(device: Target, models: Models, tmp_path: Path) -> None:
    path = _model(device, models, "single-stream")
    job = _job(device, path, "single-stream", "memory")
    events, _ = _launch(device, job, Files(model=str(path), output=str(tmp_path)))
    phases = {event.phase for event in events if isinstance(event, Memory)}
    for name in ("peak_allocated_bytes", "peak_reserved_bytes", "device_bytes"):
        told = [event for event in events if isinstance(event, Scalar) and event.name == name]
        assert {event.phase for event in told} == phases
        assert all(event.value or event.reason for event in told)


def test_a_batch_that_fits_no_memory_is_named_and_the_target_goes_on(
    device: Target, models: Models, tmp_path: Path
) -> None:
    path = _model(device, models, "offline")

    def last(batch: int) -> Event:
        job = _job(device, path, "offline", batch=batch)
        return _launch(device, job, Files(model=str(path), output=str(tmp_path)))[0][-1]

    error = last(1 << 44)
    assert getattr(error, "kind", None) == "memory", error
    assert str(1 << 44) in getattr(error, "message", "")
    assert isinstance(last(2), Done)
