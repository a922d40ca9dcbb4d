"""Phases of a language model are lowered side by side, each once; what goes wrong is said by the first to come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.durations import OnStep
from harness.errors import ModelError
from harness.job import Files, Job
from harness.protocol import Describe, Event, Progress, Scalar
from harness.targets.simulated import worker
from harness.targets.simulated.program_cache import CachedProgram, cached_program

TOKENS, POSITION = {"dtype": "int64", "sizes": [1, 8]}, {"dtype": "int64", "sizes": [1]}
LANGUAGE_MODEL = Describe(
    format="pt2",
    methods=[{"name": "forward", "inputs": [TOKENS, POSITION], "outputs": []}],
    metadata={"use_kv_cache": True, "get_vocab_size": 9},
    delegates=[],
)


@pytest.fixture
def lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Event]]:
    """What the worker says of both phases, made by a function that tells where it was called."""
    monkeypatch.setattr(worker, "describe", lambda *_: LANGUAGE_MODEL)
    model = tmp_path / "model.pt2"
    model.touch()
    asked = {"measure": "latency", "scenario": "generate", "batch": 1, "model": "m", "target": "npu"}
    job = cast(Job, SimpleNamespace(**asked, method=None, input_sizes=None))

    def said(prepare: Callable[[str, Path], dict[str, Any]]) -> list[Event]:
        events: list[Event] = []

        def make(_path: Path, _sha256: str, phase: str, _: OnStep) -> CachedProgram:
            return cached_program(tmp_path / phase, lambda scratch: prepare(phase, scratch))

        def estimate(phase: str, made: CachedProgram) -> list[Event]:
            return [Scalar(name="process", value=float(made.facts["process"]), phase=phase)]

        worker.answer(job, cast(Files, SimpleNamespace(model=str(model))), events.append, "here", make, estimate)
        return events

    return said


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_the_second_phase_is_made_beside_the_first(lowered: Callable[..., list[Event]], tmp_path: Path) -> None:
    def prepare(phase: str, scratch: Path) -> dict[str, Any]:
        with (tmp_path / "log").open("a") as log:
            log.write(f"{phase}\n")
        while phase == "prefill" and not (tmp_path / "decode" / ".lock").exists():
            time.sleep(0.01)  # waits for ever if the other one waits for it
        return {"process": os.getpid()}

    phases = {cast(Scalar, event).phase: cast(Scalar, event).value for event in lowered(prepare)}
    assert list(phases) == ["prefill", "decode"]
    assert phases["prefill"] == os.getpid() != phases["decode"]
    assert sorted((tmp_path / "log").read_text().split()) == ["decode", "prefill"]
    assert json.loads((tmp_path / "decode" / "facts.json").read_text()) == {"process": phases["decode"]}


def test_what_is_wrong_ends_what_is_made_beside(lowered: Callable[..., list[Event]], tmp_path: Path) -> None:
    def prepare(phase: str, scratch: Path) -> dict[str, Any]:
        if phase == "decode":
            time.sleep(600)
        raise ModelError("It has no int8 path.", "Write it without.")

    with pytest.raises(ModelError, match="no int8 path"):
        lowered(prepare)
    assert not [path for path in tmp_path.rglob(".part-*") if path.is_dir()]


def test_how_far_lowering_has_come_is_said_where_it_is_known(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PROGRESS_EVERY_S", 0.005)
    events: list[Event] = []
    with worker._progress("npu lowering", events.append) as announce:
        announce("prefill")("quantising")
        time.sleep(0.1)
    assert events == [], "the first time nobody knows"
    last = {"prefill: quantising": 30, "prefill: lowering": 60, "decode: quantising": 10}
    (cache / "durations.json").write_text(json.dumps({"npu lowering": last}))
    with worker._progress("npu lowering", events.append) as announce:
        announce("prefill")("quantising")
        while not events:
            time.sleep(0.01)
    assert events[0] == Progress(done=0, total=100), "of all phases together"
    known = len(events)
    time.sleep(0.1)
    assert len(events) == known, "nothing is said after the end"
