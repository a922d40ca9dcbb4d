"""Whole jobs through the real `adb` client: what is sent, what comes back, and what is left when a job ends early."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.phone import Attach, Phone, emulate_arm64, gone, kept
from models_on_disk import Models
from native_driving import events_of, job_of, samples_of, scalars_of

from harness.experiment.runner import run_job
from harness.job import Files
from harness.protocol import Done, Hello, Memory, Output
from harness.targets.arm64 import Arm64
from harness.targets.native import build
from harness.targets.native.bundle import Bundle
from harness.targets.transports.adb import Adb

# Run in a process group of its own, since a terminal's Ctrl-C reaches everything in the foreground: adb's client too.
INTERRUPTED = """
import sys
from pathlib import Path
from harness.job import Files, Job
from harness.manifest import sha256_file
from harness.experiment.runner import run_job
from harness.targets import arm64 as target_module
from harness.targets.arm64 import Arm64
from harness.targets.native import build
from harness.targets.native.bundle import Bundle

serial, folder, machine, key, loader, model = sys.argv[1:]
build.bundle = lambda machine_: Bundle(Path(folder), machine, key, loader)
target_module._MACHINE = machine
target = Arm64(f"adb:{serial}")
job = Job(target="arm64", model="m", model_sha256=sha256_file(Path(model)),
          scenario="single-stream", batch=4, min_duration_s=300.0, max_duration_s=300.0)
real = target.launch
def launch(job, files):
    process = real(job, files)
    lines = process.lines
    def tell(timeout_s):
        for line in lines(timeout_s):
            if '"loaded"' in line:
                print("working", flush=True)
            yield line
    process.lines = tell
    return process
target.launch = launch
attempt = run_job(target, job, Files(model=model), session_id="s", position=0, timeout_s=60.0, model_bytes=1)
print(attempt.status, attempt.interrupted, attempt.tables["runs"].num_rows, attempt.error, flush=True)
"""


def test_a_job_runs_there_and_the_next_one_sends_nothing(
    stand_in: Phone, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "a; rm -rf $HOME .pte"
    shutil.copy(models.mlp, model)
    target = Arm64(f"adb:{stand_in.serial}")
    assert target.availability().available
    events = events_of(target, job_of(target, model), model)
    assert isinstance(events[0], Hello)
    assert isinstance(events[-1], Done), events[-1]
    assert all(duration > 0 for duration in samples_of(events)["steady"].duration_ns or [0])
    job = job_of(target, model, measure="quality", reference_sha256="0" * 64)
    folder = tmp_path / "out"
    folder.mkdir()
    assert any(isinstance(event, Output) for event in events_of(target, job, model, output=str(folder)))
    assert not list((kept(stand_in) / "jobs").iterdir())
    pushed: list[Path] = []
    real = Adb.push
    monkeypatch.setattr(Adb, "push", lambda self, file, path: pushed.append(file) or real(self, file, path))
    again = Arm64(f"adb:{stand_in.serial}")
    events = events_of(again, job_of(again, model, measure="memory"), model)
    assert any(isinstance(event, Memory) for event in events)
    assert pushed == []


def test_the_arm64_bundle_needs_nothing_that_android_lacks(
    attach: Attach, arm64: Bundle, models: Models, tmp_path: Path
) -> None:
    """The very bundle that a phone would get, started by Android's shell in a root without any C library for it. Its
    processor is QEMU's: what it computes can be checked, how fast cannot.
    """
    phone = attach()
    emulate_arm64(phone.root)
    target = Arm64(f"adb:{phone.serial}")
    assert target.availability().available
    job = job_of(target, models.mlp, measure="quality", reference_sha256="0" * 64)
    events = events_of(target, job, models.mlp, output=str(tmp_path))
    assert isinstance(events[-1], Done), events[-1]
    found = scalars_of(events)
    assert found["argmax_agreement_x86"] == 1.0
    assert 0 <= (found["max_abs_difference_x86"] or 0.0) < 1e-5


def test_a_vanished_device_is_a_failed_row_and_the_same_run_goes_on_when_it_is_back(
    stand_in: Phone, models: Models
) -> None:
    target = Arm64(f"adb:{stand_in.serial}")
    endless = job_of(target, models.mlp, min_duration_s=300.0, max_duration_s=300.0)
    files = Files(model=str(models.mlp))
    known = {"session_id": "s", "position": 0, "timeout_s": 60.0, "model_bytes": 1}
    real = target.launch

    def launch(job: object, files: Files) -> object:
        process = real(job, files)  # type: ignore[arg-type]
        stand_in.vanish()
        return process

    target.launch = launch  # type: ignore[method-assign, assignment]
    attempt = run_job(target, endless, files, **known)  # type: ignore[arg-type]
    assert attempt.status == "failed"
    assert attempt.error is not None
    assert (attempt.error.kind, "went away" in str(attempt.error)) == ("device", True)
    assert gone(stand_in, "runner")
    target.launch = real  # type: ignore[method-assign]
    back = Phone(stand_in.root)
    try:
        again = Arm64(f"adb:{back.connect()}")
        assert run_job(again, job_of(again, models.mlp), files, **known).status == "ok"  # type: ignore[arg-type]
    finally:
        back.vanish()


def test_ctrl_c_ends_the_worker_on_the_device_and_makes_its_row(stand_in: Phone, models: Models) -> None:
    bundle = build.bundle(build.X86_64)  # the stand-in's
    given = (stand_in.serial, bundle.folder, bundle.machine, bundle.key, bundle.loader, models.mlp)
    harness = subprocess.Popen(
        [sys.executable, "-P", "-c", INTERRUPTED, *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert harness.stdout is not None
    said = harness.stdout.readline().strip()
    if said != "working":
        harness.kill()
        pytest.fail(f"{said!r}: {harness.communicate()}")
    os.killpg(harness.pid, signal.SIGINT)
    out, err = harness.communicate(timeout=60)
    assert out.strip() == "interrupted True 1 Interrupted by the user.", err
    assert gone(stand_in, "runner")
    assert not list((kept(stand_in) / "jobs").iterdir())
