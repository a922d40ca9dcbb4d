"""The warm start beside a cold one: what the second process is asked, and which of its figures are told as what."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from worker.driving import job

from harness.errors import WorkerError
from harness.job import Files, parse_request
from harness.protocol import Done, Error, Event, Hello, Io, Loaded, Samples, Scalar, encode
from harness.worker.warm_start import warm_start

HELLO = Hello(protocol=1, worker="w", versions={})
LOADED = Loaded(program_ns=30, method_ns=4, program_bytes=5, planned_bytes=6)
READS = Io(phase="load", asked_bytes=5, read_bytes=0, major_faults=2)
FIRST = Samples(phase="first", start_ns=[100], duration_ns=[9])
STEADY = Samples(phase="steady", start_ns=[200, 300], duration_ns=[7, 8])


def second(monkeypatch: pytest.MonkeyPatch, *events: Event) -> list[str]:
    """Let the second process say so; returns what it will have been asked."""
    asked: list[str] = []

    def run(command: Any, *, input: str, **_: Any) -> Any:
        asked.append(input)
        return SimpleNamespace(stdout="".join(encode(event) + "\n" for event in events))

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_each_figure_of_the_second_process_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = second(monkeypatch, HELLO, LOADED, READS, FIRST, STEADY, Done())
    cold, files = job("cold-start", max_warmup_s=2.0, min_duration_s=1.0, threads=3), Files(model="m.pte", data="m.ptd")
    told = list(warm_start(cold, files))
    scalars = {scalar.name: (scalar.value, scalar.phase) for scalar in told if isinstance(scalar, Scalar)}
    assert scalars == {
        "load_program_ns": (30, "warm"),
        "load_method_ns": (4, "warm"),
        "first_inference_ns": (9, "warm"),
    }
    assert [event for event in told if isinstance(event, Io)] == [
        Io(phase="warm_load", asked_bytes=5, read_bytes=0, major_faults=2)
    ]
    assert len(told) == 4
    (request,) = asked
    once, same = parse_request(request)
    assert same == files
    # Anything but a cold start, which would drop the pages again; and no more than one query is waited for.
    assert (once.scenario, once.threads, once.max_warmup_s, once.min_duration_s) == ("single-stream", 3, 0.0, 0.0)
    assert once.min_iterations == 1
    assert json.loads(request)["job"]["measure"] == "latency"


def test_a_second_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    second(monkeypatch, HELLO, Error(kind="model", message="It is gone.", todo="Look."))
    with pytest.raises(WorkerError, match=r"warm start failed after a cold one\. It is gone\."):
        list(warm_start(job("cold-start"), Files(model="m.pte")))
