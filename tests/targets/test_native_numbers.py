"""The numbers of the native worker in their units: nanoseconds of the monotonic clock, bytes, processors."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from native_driving import samples_of, scalars_of
from native_requests import Worker, expected

from harness.protocol import Hello, Io, Loaded, Memory


def test_times_are_nanoseconds_of_the_monotonic_clock(worker: Worker, programs: Path) -> None:
    prompt = {"prompts": np.array([[1, 2, 3, 4, 5]])}
    before = time.monotonic_ns()
    events, _ = worker.ask(
        programs / "strict_each.pte", prompt, scenario="generate", prompt_tokens=5, new_tokens=4, min_iterations=7
    )
    after = time.monotonic_ns()
    series = samples_of(events)
    found = {}
    for phase in ("first", "warmup", "ttft", "prefill", "decode", "generate"):
        assert series[phase].duration_ns is not None
        found[phase] = [*zip(series[phase].start_ns, series[phase].duration_ns or [], strict=True)]
        assert all(before < start < start + duration < after for start, duration in found[phase])
    # Warming up ends before what counts begins, and is none of it.
    assert max(start + duration for start, duration in found["warmup"]) <= found["generate"][0][0]
    assert scalars_of(events)["queries"] == len(found["generate"]) == 7
    for number, (start, duration) in enumerate(found["generate"]):
        prefill, ttft = found["prefill"][number], found["ttft"][number]
        steps = found["decode"][3 * number : 3 * number + 3]
        assert start == ttft[0] <= prefill[0]
        assert prefill[1] <= ttft[1] <= steps[0][0] - start, "the first token is there before the next is asked for"
        ends = [s + d for s, d in [prefill, *steps]]
        assert ends == sorted(ends)
        assert all(end <= s for end, (s, _) in zip(ends, steps, strict=False))
        assert prefill[1] + sum(d for _, d in steps) <= duration
        assert ends[-1] <= start + duration
    (loaded,) = (event for event in events if isinstance(event, Loaded))
    assert loaded.program_ns is not None
    assert loaded.method_ns is not None
    assert 0 < loaded.program_ns + loaded.method_ns < found["first"][0][0] - before


def test_the_least_time_and_the_least_queries_are_both_kept(worker: Worker, programs: Path) -> None:
    inputs, _ = expected(programs, "zero")
    events, _ = worker.ask(programs / "zero.pte", inputs, min_iterations=5, min_duration_s=0.2, max_duration_s=30.0)
    steady = samples_of(events)["steady"]
    assert len(steady.start_ns) >= 5
    assert steady.start_ns[-1] + (steady.duration_ns or [0])[-1] - steady.start_ns[0] > 0.19e9
    events, _ = worker.ask(programs / "zero.pte", inputs, min_iterations=10**9, max_duration_s=0.05)
    assert 1 <= len(samples_of(events)["steady"].start_ns) < 10**9


def test_memory_is_whole_pages(worker: Worker, programs: Path) -> None:
    """The kernel says kibibytes and means pages: any other factor than 1024 would leave a remainder somewhere."""
    inputs, _ = expected(programs, "recurrent")
    events, _ = worker.ask(programs / "recurrent.pte", inputs, measure="memory")
    found = [event for event in events if isinstance(event, Memory)]
    assert [event.phase for event in found] == ["runtime", "load", "first", "steady"]
    page = os.sysconf("SC_PAGESIZE")
    for event in found:
        for size in (event.rss_bytes, event.peak_rss_bytes):
            assert size is not None
            assert size % page == 0
        assert event.pss_bytes is not None
        assert event.pss_bytes % 1024 == 0
        assert event.pss_bytes <= event.rss_bytes <= event.peak_rss_bytes  # type: ignore[operator]


def test_a_peak_is_that_of_its_phase(worker: Worker, programs: Path, tmp_path: Path) -> None:
    """Inputs of 64 MB are read when the first query is prepared, and are there from then on."""
    big = {f"set{number}_arg0": np.zeros(1 << 21) for number in range(1, 5)}
    inputs, _ = expected(programs, "zero")
    events, _ = worker.ask(programs / "zero.pte", inputs | big, measure="memory")
    peaks = {event.phase: event.peak_rss_bytes or 0 for event in events if isinstance(event, Memory)}
    assert peaks["load"] < 64e6 < peaks["first"]


def test_the_processors_are_those_of_the_job(worker: Worker, programs: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    inputs, _ = expected(programs, "zero")
    hello = worker.ask(programs / "zero.pte", inputs, cpus=(cpu,))[0][0]
    assert isinstance(hello, Hello)
    assert hello.device["cpus"] == [cpu]
    hello = worker.ask(programs / "zero.pte", inputs)[0][0]
    assert isinstance(hello, Hello)
    assert hello.device["cpus"] == sorted(os.sched_getaffinity(0))
    refused = worker.refusal(programs / "zero.pte", inputs, cpus=(1023,))
    assert "1023" in refused.message
    assert "--cpus" in refused.todo
    partly = worker.refusal(programs / "zero.pte", inputs, cpus=(cpu, 1023))
    assert "cannot be used here" in partly.message


def test_the_arena_is_that_of_the_method(worker: Worker, programs: Path) -> None:
    methods = worker.description(programs / "methods.pte").methods
    planned = {method["name"]: method["planned_bytes"] for method in methods}
    assert planned["encode"] != planned["decode"]
    with np.load(programs / "methods.npz") as file:
        inputs = {"set0_arg0": file["in0"]}
    for name, size in planned.items():
        events, _ = worker.ask(programs / "methods.pte", inputs, method=name)
        assert [event.planned_bytes for event in events if isinstance(event, Loaded)] == [size]


def test_what_the_kernel_read_is_in_bytes_and_of_the_loading(worker: Worker, programs: Path) -> None:
    inputs, _ = expected(programs, "zero")
    (io,) = (e for e in worker.ask(programs / "zero.pte", inputs)[0] if isinstance(e, Io))
    assert io.phase == "load"
    assert io.asked_bytes == (programs / "zero.pte").stat().st_size
    assert io.read_bytes is None or 0 <= io.read_bytes < 1 << 20


def test_of_counted_queries_each_is_one_and_the_first_is_apart(
    emulated: Worker, programs: Path, tmp_path: Path
) -> None:
    inputs, _ = expected(programs, "zero")
    counts = {"HARNESS_COUNTS": str(tmp_path / "counts")}
    events, _ = emulated.ask(programs / "zero.pte", inputs, environment=counts, min_iterations=4)
    found = {phase: series.instructions or [] for phase, series in samples_of(events).items()}
    assert {phase: len(instructions) for phase, instructions in found.items()} == {"load": 1, "first": 1, "steady": 4}
    assert min(map(min, found.values())) > 0
