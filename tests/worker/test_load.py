"""Load that looks like use, in a real worker: what it says, in which order, with which numbers."""

from __future__ import annotations

import itertools
import time

from models_on_disk import BATCH, Models
from worker.driving import Said, job, run

from harness.job import Job
from harness.protocol import Environment, Event, Io, Samples, Scalar, decode, encode
from harness.scenarios.queries import SingleQuery
from harness.worker.load import measure_server


def _scalars(said: Said, phase: str | None = None) -> dict[str, float | None]:
    return {scalar.name: scalar.value for scalar in said.all(Scalar) if scalar.phase == phase}


def _reason(said: Said, name: str) -> str:
    (scalar,) = (scalar for scalar in said.all(Scalar) if scalar.name == name)
    assert scalar.value is None
    assert scalar.reason
    return scalar.reason


def _durations(samples: Samples) -> list[int]:
    assert samples.duration_ns is not None
    return samples.duration_ns


def _told(job: Job, cost_ns: int = 0) -> Said:
    """What is told of a server whose queries take so long, here in this process."""
    events: list[Event] = []

    def execute(_: object) -> tuple[()]:
        end = time.perf_counter_ns() + cost_ns
        while time.perf_counter_ns() < end:
            pass
        return ()

    query = SingleQuery(execute, (), "steady", time.perf_counter_ns)
    measure_server(job, query, max(cost_ns, 1000), events.append)
    return Said([decode(encode(event)) for event in events], "", 0)


def test_a_server_at_a_rate_tells_latencies_from_arrival_beside_services() -> None:
    said = _told(job("server", rate_queries_per_s=20_000.0, latency_bound_ns=10**12, min_iterations=500))
    assert said.order == ["scalar", "samples server", "samples server_service", "scalar"]
    assert _scalars(said, "server") == {"rate_queries_per_s": 20_000.0}
    assert _scalars(said) == {"queries": 500}
    latency, service = said.samples("server"), said.samples("server_service")
    assert len(latency.start_ns) == len(service.start_ns) == 500
    for arrival, whole, start, alone in zip(
        latency.start_ns, _durations(latency), service.start_ns, _durations(service), strict=True
    ):
        assert arrival <= start
        assert start + alone <= arrival + whole
    assert latency.start_ns == sorted(latency.start_ns)


def test_a_rate_that_no_device_holds_says_so_in_one_sentence() -> None:
    said = _told(job("server", rate_queries_per_s=1e7, latency_bound_ns=1, min_iterations=600))
    why = _reason(said, "server_queries_per_s")
    assert why == "10,000,000 queries/s did not hold p99 within 1e-06 ms: 600 of 600 queries took longer"
    assert len(said.samples("server").start_ns) == 600, "every one that arrived was answered"


def test_too_few_queries_for_p99_say_so() -> None:
    said = _told(job("server", rate_queries_per_s=1e4, latency_bound_ns=10**12, min_iterations=50))
    assert "50 queries at 10,000 queries/s are too few to tell p99: it takes 459" in _reason(
        said, "server_queries_per_s"
    )


def test_a_search_tells_every_trial_with_its_rate() -> None:
    said = _told(job("server", latency_bound_ns=10**12, min_iterations=459))
    phases = [event.phase for event in said.all(Samples)]
    trials = [phase for phase in phases if not phase.endswith("_service")]
    assert trials == [f"server_{number}" for number in range(1, len(trials) + 1)]
    assert phases == [name for trial in trials for name in (trial, f"{trial}_service")]
    # Nothing takes as long as this bound, so that each rate holds and the next is higher.
    rates = [_scalars(said, trial)["rate_queries_per_s"] for trial in trials]
    assert rates == sorted(rates)  # type: ignore[type-var]
    assert len(rates) == 4
    assert _scalars(said) == {"queries": 459}, "what can be derived is not stored"


def test_a_search_that_finds_nothing_halves_its_rate_and_says_why() -> None:
    said = _told(job("server", latency_bound_ns=100_000, min_iterations=459), cost_ns=100_000)
    rates = [scalar.value for scalar in said.all(Scalar) if scalar.name == "rate_queries_per_s"]
    assert len(rates) == 6
    assert all(a == 2 * b for a, b in itertools.pairwise(rates))  # type: ignore[operator]
    # A query takes as long as the bound, so that each comes late, and one too many ends the trial.
    assert all(len(said.samples(f"server_{number}").start_ns) == 1 for number in range(1, 7))
    assert "did not hold p99 within 0.1 ms: 1 of 1 queries took longer" in _reason(said, "server_queries_per_s")


def test_a_query_that_alone_takes_longer_than_the_bound_needs_no_trial() -> None:
    said = _told(job("server", latency_bound_ns=999, min_iterations=459))
    assert said.order == ["scalar"]
    assert _reason(said, "server_queries_per_s") == "a query alone takes 0.001 ms, longer than the bound of 0.000999 ms"


def test_a_server_of_a_language_model_answers_with_all_its_tokens(models: Models) -> None:
    said = run(
        models.lm,
        job("server", prompt_tokens=3, new_tokens=4, rate_queries_per_s=1000.0, min_iterations=20),
    )
    assert said.order[-5:] == ["scalar", "samples server", "samples server_service", "scalar", "done"]
    assert len(said.samples("server").start_ns) == 20
    assert "server_queries_per_s" not in _scalars(said), "without a bound there is nothing to hold"
    assert {event.phase for event in said.all(Samples)} == {"first", "warmup", "server", "server_service"}


def test_multi_stream_times_the_query_and_not_its_samples(models: Models) -> None:
    said = run(models.mlp, job("multi-stream", batch=2, streams=8))
    assert said.order[-2:] == ["samples multi_stream", "done"]
    assert len(said.samples("multi_stream").start_ns) == 4


def test_sustained_load_tells_the_state_of_the_device_and_every_phase_of_generation(models: Models) -> None:
    said = run(models.lm, job("sustained", prompt_tokens=3, new_tokens=4, min_iterations=5))
    assert {event.phase for event in said.all(Samples)} == {
        "first",
        "warmup",
        "sustained",
        "ttft",
        "prefill",
        "decode",
    }
    assert [len(said.samples(phase).start_ns) for phase in ("sustained", "decode")] == [5, 15]
    (state,) = said.all(Environment)
    assert state.moment == "minute 0"
    readings = {reading["name"]: reading for reading in state.readings}
    assert {"cpu_frequency_mhz", "temperature_celsius"} <= readings.keys()
    assert all((reading["value"] is None) == bool(reading["reason"]) for reading in state.readings)
    assert _scalars(said)["queries"] == 5
    assert "too few to see a change" in _reason(said, "time_to_plateau_ns")


def test_the_warm_start_is_beside_the_cold_one_with_its_own_reads(models: Models) -> None:
    said = run(models.mlp, job("cold-start", batch=BATCH))
    warm = _scalars(said, "warm")
    assert warm.keys() == {"load_program_ns", "load_method_ns", "first_inference_ns"}
    assert all(value is not None and value > 0 for value in warm.values())
    assert len(said.samples("first").start_ns) == 1
    reads = {io.phase: io for io in said.all(Io)}
    assert reads.keys() == {"load", "warm_load"}
    assert {io.asked_bytes for io in reads.values()} == {models.mlp.stat().st_size}
    assert reads["warm_load"].read_bytes in (None, 0), "the pages are still in memory"
