"""What every target keeps, whatever it is: run for each installed one that is available here, on models that it loads.

A new target is tested by being installed. Nothing below names one: models are chosen by `capabilities.formats`, and
what is expected of an answer by the other capabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from models_on_disk import BATCH, Models

from harness.errors import WorkerError
from harness.job import Files, Job
from harness.manifest import sha256_file
from harness.protocol import Describe, Done, Error, Event, Hello, Loaded, Memory, Samples, decode
from harness.scenarios.catalogue import SCENARIOS
from harness.target import Target, find_target, target_names

PHASES = {name: set(scenario.phases) for name, scenario in SCENARIOS.items()}

LOAD: dict[str, dict[str, Any]] = {
    "multi-stream": {"streams": 2 * BATCH},
    "server": {"rate_queries_per_s": 1000.0, "latency_bound_ns": 1_000_000_000},
}


# Phases whose samples are calls of the model, which a device may time too.
CALLS = {"steady", "batch", "prefill", "decode"}


def _model(target: Target, models: Models, scenario: str) -> Path:
    """A model that the target loads and the scenario can use."""
    if SCENARIOS[scenario].in_flash:
        pytest.skip("models whose weights lie in flash are in tests/worker/test_flash.py")
    preferred = target.capabilities.formats[0]
    if SCENARIOS[scenario].language_models:
        if target.capabilities.static_shapes:
            pytest.skip("there is no language model of fixed shapes to test with")
        return {".pte": models.lm, ".pt2": models.lm_pt2}[preferred]
    return {".pte": models.mlp, ".pt2": models.mlp_pt2}[preferred]


def _job(target: Target, path: Path, scenario: str, measure: str = "latency", **fields: Any) -> Job:
    quick = {"min_iterations": 3, "min_duration_s": 0.0, "max_warmup_s": 0.0, "batch": BATCH}
    if SCENARIOS[scenario].language_models:
        quick |= {"batch": 1, "prompt_tokens": 3, "new_tokens": 3}
    quick |= LOAD.get(scenario, {})
    return Job(
        target=target.name,
        model=path.stem,
        model_sha256=sha256_file(path),
        scenario=scenario,
        measure=measure,
        **{**quick, **fields},
    )


def _launch(target: Target, job: Job, files: Files) -> tuple[list[Event], int | None]:
    """All events of a worker, and its exit code. A worker that hangs fails the test with `timeout`."""
    process = target.launch(job, files)
    try:
        events = [decode(line) for line in process.lines(120.0)]
    except BaseException:
        process.kill()
        raise
    code = process.close()
    assert isinstance(process.stderr_tail(), str)
    return events, code


def test_it_presents_itself(target: Target) -> None:
    can = target.capabilities
    assert target.name in target_names()
    assert target.summary
    assert can.formats
    assert all(suffix.startswith(".") for suffix in can.formats)
    assert set(can.scenarios) <= set(SCENARIOS)
    assert can.latency in ("measured", "emulated", "estimated", None)


def test_the_device_keeps_its_name(target: Target) -> None:
    assert target.device()
    assert target.device() == target.device() == find_target(target.name).device()


def test_every_reading_of_the_environment_has_a_value_or_a_reason(target: Target) -> None:
    first, second = target.environment(), target.environment()
    assert any(reading.identity for reading in first)
    assert len({reading.name for reading in first}) == len(first)
    for reading in first:
        assert isinstance(reading.value, str) or (reading.value is None and reading.reason), reading
    assert [r for r in first if r.identity] == [r for r in second if r.identity], "identity does not change by itself"


def test_it_describes_every_format_it_loads(target: Target, models: Models) -> None:
    for suffix, path in ((".pte", models.lm), (".pt2", models.mlp_pt2)):
        if suffix not in target.capabilities.formats:
            continue
        job = Job(
            target=target.name, model="m", model_sha256=sha256_file(path), scenario="describe", measure="describe"
        )
        events, _ = _launch(target, job, Files(model=str(path)))
        hello, describe, done = events
        assert isinstance(hello, Hello)
        assert hello.versions
        assert isinstance(describe, Describe)
        assert isinstance(done, Done)
        assert describe.format == suffix.removeprefix(".")
        assert [method["name"] for method in describe.methods] == ["forward"]
        assert all(meta["dtype"] and meta["sizes"] for meta in describe.methods[0]["inputs"])


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_scenario_it_declares_gives_samples_of_its_phases(
    target: Target, models: Models, scenario: str, tmp_path: Path
) -> None:
    if scenario not in target.capabilities.scenarios:
        pytest.skip(f"{target.name} does not offer {scenario}")
    path = _model(target, models, scenario)
    job = _job(target, path, scenario)
    events, code = _launch(target, job, Files(model=str(path), output=str(tmp_path)))
    assert isinstance(events[0], Hello)
    assert isinstance(events[-1], Done), events[-1]
    assert code in (0, None)
    samples = {event.phase: event for event in events if isinstance(event, Samples)}
    if target.capabilities.latency == "estimated":
        assert set(samples) == PHASES[scenario] - {"ttft", "generate"}, "what the host adds is not estimated"
        for event in samples.values():
            assert event.duration_ns is not None
            assert len(event.duration_ns) == 1, "an estimate said twice is no second sample"
            assert event.duration_ns[0] > 0
        return
    assert [event.program_bytes for event in events if isinstance(event, Loaded)] == [path.stat().st_size]
    if target.capabilities.latency is None:
        assert all(event.instructions is not None for event in samples.values()), "without a clock there must be counts"
        return
    of_device = {f"{phase}_device" for phase in PHASES[scenario] & CALLS if target.capabilities.device_time}
    assert set(samples) - {"first", "warmup"} == PHASES[scenario] | of_device
    for phase in of_device:
        host = samples[phase.removesuffix("_device")]
        assert samples[phase].start_ns == host.start_ns
        # 1 %: two clocks. What the device took, the host has waited for.
        assert all(d <= 1.01 * h for d, h in zip(samples[phase].duration_ns, host.duration_ns, strict=True))
    assert len(samples["first"].duration_ns) == 1
    for phase in PHASES[scenario]:
        assert len(samples[phase].duration_ns) == (6 if phase == "decode" else 3)
    for event in samples.values():
        assert all(duration > 0 for duration in event.duration_ns)
        assert event.start_ns == sorted(event.start_ns)
        if target.capabilities.instructions:
            assert event.instructions is not None


def test_memory_is_measured_where_it_says_so(target: Target, models: Models, tmp_path: Path) -> None:
    if not target.capabilities.memory:
        pytest.skip(f"{target.name} does not measure memory")
    path = _model(target, models, "single-stream")
    events, _ = _launch(
        target, _job(target, path, "single-stream", "memory"), Files(model=str(path), output=str(tmp_path))
    )
    assert isinstance(events[-1], Done), events[-1]
    phases = [event for event in events if isinstance(event, Memory)]
    assert {"runtime", "load", "steady"} <= {event.phase for event in phases}
    for event in phases:
        assert event.rss_bytes
        assert event.peak_rss_bytes
        assert event.peak_rss_bytes >= event.rss_bytes > 0
    assert not any(isinstance(event, Samples) for event in events), "timing and memory never share a process"


def test_a_worker_is_pinned_where_it_says_so_and_the_next_one_is_free_again(
    target: Target, models: Models, tmp_path: Path
) -> None:
    if not target.capabilities.pinning:
        pytest.skip(f"{target.name} does not pin")
    path = _model(target, models, "cold-start")

    def cpus(pinned: tuple[int, ...] | None) -> list[int]:
        job = _job(target, path, "cold-start", cpus=pinned)
        hello = _launch(target, job, Files(model=str(path), output=str(tmp_path)))[0][0]
        assert isinstance(hello, Hello)
        found: list[int] = hello.device["cpus"]
        return found

    free = cpus(None)
    assert free
    assert cpus((free[-1],)) == [free[-1]]
    assert cpus(None) == free


def test_a_damaged_model_is_an_end_and_never_a_hang_and_the_target_goes_on(
    target: Target, models: Models, tmp_path: Path
) -> None:
    whole = _model(target, models, "single-stream")
    once = "cold-start" if "cold-start" in target.capabilities.scenarios else "single-stream"
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    events, code = _launch(target, _job(target, cut, once), Files(model=str(cut), output=str(tmp_path)))
    assert not any(isinstance(event, Done) for event in events)
    assert (events and isinstance(events[-1], Error)) or code != 0, "neither an error nor a crash"
    if events and isinstance(events[-1], Error):
        assert events[-1].message
    events, _ = _launch(target, _job(target, whole, once), Files(model=str(whole), output=str(tmp_path)))
    assert isinstance(events[-1], Done)


def test_a_worker_that_takes_too_long_is_ended(target: Target, models: Models, tmp_path: Path) -> None:
    path = _model(target, models, "single-stream")
    endless = _job(target, path, "single-stream", min_duration_s=300.0, max_duration_s=300.0)
    process = target.launch(endless, Files(model=str(path), output=str(tmp_path)))
    try:
        with pytest.raises(WorkerError) as caught:
            list(process.lines(0.2))
    finally:
        code = process.kill()
    assert caught.value.kind == "timeout"
    assert code != 0
