"""arm64 by QEMU: counts that repeat, outputs that agree with x86, and never a latency."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest
from models_on_disk import VOCABULARY, Models
from native_driving import events_of, job_of, samples_of, scalars_of

from harness.protocol import Done, Hello, Loaded, Output, Scalar
from harness.targets.arm64 import Arm64

pytestmark = pytest.mark.usefixtures("arm64")
RUNS = 4
ADDR_NO_RANDOMIZE = 0x0040000  # of personality(2)


def _counts(target: Arm64, path: Path, scenario: str = "single-stream") -> dict[str, list[int]]:
    events = events_of(target, job_of(target, path, scenario), path)
    assert isinstance(events[-1], Done), events[-1]
    found = samples_of(events)
    assert all(series.duration_ns is None for series in found.values()), "an emulator has no latency"
    assert all(e.program_ns is None and e.method_ns is None for e in events if isinstance(e, Loaded))
    return {phase: series.instructions or [] for phase, series in found.items()}


def test_counts_are_the_same_in_every_run(models: Models) -> None:
    target = Arm64("qemu")
    first, *others = (_counts(target, models.lm, "generate") for _ in range(RUNS))
    assert first.keys() == {"load", "first", "prefill", "decode"}
    assert {phase: len(counts) for phase, counts in first.items()} == {"load": 1, "first": 1, "prefill": 3, "decode": 6}
    assert all(count > 10_000 for counts in first.values() for count in counts)
    assert all(other == first for other in others)


def test_counts_depend_on_nothing_of_the_machine_that_can_be_varied_here(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a second machine: one processor instead of all, another environment, no random addresses."""
    target = Arm64("qemu")
    usual = _counts(target, models.lm, "generate")
    processors = os.sched_getaffinity(0)
    persona = ctypes.CDLL(None).personality
    before = persona(0xFFFFFFFF)
    try:
        os.sched_setaffinity(0, {min(processors)})
        persona(before | ADDR_NO_RANDOMIZE)
        monkeypatch.setenv("A_LONG_VARIABLE", "x" * 10_000)
        monkeypatch.setenv("HOME", "/nonexistent")
        assert _counts(target, models.lm, "generate") == usual
    finally:
        persona(before)
        os.sched_setaffinity(0, processors)


def test_the_processor_decides_which_kernels_run(models: Models) -> None:
    """XNNPACK reads the part number of the processor in /proc/cpuinfo: the guest must see its own."""
    newer, older = (
        _counts(Arm64(device), models.mlp)["steady"][0] for device in ("qemu:cortex-a76", "qemu:cortex-a53")
    )
    assert newer != older


def test_classes_are_counted(models: Models) -> None:
    target = Arm64("qemu")
    events = events_of(target, job_of(target, models.mlp), models.mlp)
    steady = {e.name: e.value for e in events if isinstance(e, Scalar) and e.phase == "steady"}
    total = samples_of(events)["steady"].instructions
    assert total is not None
    for kind in ("load_store", "branch", "simd_fp", "fmla_f32"):
        value = steady[f"instructions_{kind}"]
        assert value is not None
        assert 0 < value < total[0]
    assert steady["instructions_sme"] == steady["instructions_sve"] == 0
    # 4 rows, 8 x 16 and 16 x 8 multiplications, four to an instruction.
    assert steady["instructions_fmla_f32"] >= 4 * (8 * 16 + 16 * 8) / 4


@pytest.mark.parametrize("device", ["qemu:cortex-a76", "qemu:max"])
def test_outputs_agree_with_x86(models: Models, tmp_path: Path, x86: object, device: str) -> None:
    target = Arm64(device)
    job = job_of(target, models.mlp, measure="quality", reference_sha256="0" * 64)
    events = events_of(target, job, models.mlp, output=str(tmp_path))
    found = scalars_of(events)
    assert found["argmax_agreement_x86"] == 1.0
    assert 0 <= (found["max_abs_difference_x86"] or 0.0) < 1e-5
    path = next(event.file for event in events if isinstance(event, Output))
    with np.load(path) as arrays:
        assert all(np.abs(arrays[name]).max() > 0 for name in arrays.files)


def test_loss_agrees_with_x86_and_its_logits_too(models: Models, tmp_path: Path, x86: object) -> None:
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.random.default_rng(3).integers(0, VOCABULARY, 41))
    target = Arm64("qemu")
    job = job_of(target, models.lm, "generate", "quality", data="d", data_sha256="0" * 64, max_tokens=16)
    found = scalars_of(events_of(target, job, models.lm, tokens=str(tokens), output=str(tmp_path)))
    assert found["predicted_tokens"] == 16
    assert found["argmax_agreement_x86"] == 1.0
    assert (found["max_abs_difference_x86"] or 0.0) < 1e-4


def test_it_says_what_it_is(models: Models) -> None:
    target = Arm64("qemu:cortex-a53")
    assert target.capabilities.latency is None
    assert target.capabilities.instructions
    assert not target.capabilities.memory
    assert "emulated" in target.device()
    assert "no latency" in target.summary
    readings = {reading.name: reading for reading in target.environment()}
    assert "emulated by QEMU" in str(readings["cpu_model"].value)
    hello = events_of(target, job_of(target, models.mlp, "describe", "describe"), models.mlp)[0]
    assert isinstance(hello, Hello)
    assert hello.worker.startswith("native ")
