"""From how many samples on a percentile is shown, against the definition; and what gives enough of them."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli.run import run
from harness.metrics import CATALOGUE, Metric
from harness.scenarios.catalogue import SCENARIOS
from harness.statistics.early_stopping import fewest_samples
from harness.store.dataset import Tables
from harness.store.schemas import RUNS, SAMPLES, SCALARS

METRICS = {metric.name: metric for metric in CATALOGUE}
MS = 1_000_000


def process(samples: dict[str, list[int]], kind: str = "measured", **job: Any) -> Tables:
    """One process, `a`, with these durations by phase, one after the other."""
    rows, clock = [], 0
    for phase, durations in samples.items():
        for i, duration in enumerate(durations):
            rows.append({"attempt_id": "a", "phase": phase, "iteration": i, "start_ns": clock, "duration_ns": duration})
            clock += duration
    attempt = {"attempt_id": "a", "latency_kind": kind, "job_json": json.dumps(job)}
    frames = (
        pa.Table.from_pylist(found, schema=schema).to_pandas()
        for found, schema in (([attempt], RUNS), (rows, SAMPLES), ([], SCALARS))
    )
    return Tables(*frames)


def too_few(name: str, tables: Tables) -> str | None:
    found = METRICS[name].too_few
    assert found is not None
    return found(tables).get("a")


def test_a_store_of_hundreds_of_attempts_says_why_each_has_too_few() -> None:
    """Attempts are categories there; none of these is of a language model, whose answers are looked up."""
    names = [f"{number:03d}" for number in range(300)]
    rows = [{"attempt_id": name, "phase": "steady", "iteration": 0, "start_ns": 0, "duration_ns": 1} for name in names]
    runs = [{"attempt_id": name, "latency_kind": "measured"} for name in names]
    samples = pa.Table.from_pylist(rows, schema=SAMPLES).to_pandas().astype({"attempt_id": "category"})
    tables = Tables(
        pa.Table.from_pylist(runs, schema=RUNS).to_pandas(),
        samples,
        pa.Table.from_pylist([], schema=SCALARS).to_pandas(),
    )
    reasons = METRICS["steady_latency_ns_p90"].too_few
    assert reasons is not None
    assert len(reasons(tables)) == 300


@given(percentile=st.floats(0.5, 0.9995), samples=st.integers(2, 20_000))
def test_so_many_samples_that_two_lie_beyond_the_percentile_with_99_percent_confidence(
    percentile: float, samples: int
) -> None:
    """The definition by hand: none or one of them beyond it has a probability of 1 % at most."""
    none = percentile**samples
    one = samples * (1 - percentile) * percentile ** (samples - 1)
    if abs(none + one - 0.01) > 1e-9:
        assert (samples >= fewest_samples(percentile)) == (none + one <= 0.01)


def test_the_numbers_are_those_of_mlperf() -> None:
    assert {p: fewest_samples(p) for p in (0.5, 0.9, 0.99, 0.999)} == {0.5: 11, 0.9: 64, 0.99: 662, 0.999: 6636}


@settings(deadline=None, max_examples=50)
@given(durations=st.lists(st.integers(1, 10**9), min_size=1, max_size=900))
def test_a_percentile_is_that_of_the_samples_or_has_a_reason(durations: list[int]) -> None:
    tables = process({"steady": durations})
    for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99")):
        found = METRICS[f"steady_latency_ns_{name}"].per_process(tables).to_dict()
        if share == 0.5 or len(durations) >= fewest_samples(share):
            assert found == {"a": pytest.approx(np.quantile(durations, share))}
            assert too_few(f"steady_latency_ns_{name}", tables) is None
        else:
            assert found == {}
            assert f"{name} takes {fewest_samples(share)} queries per process, and one had {len(durations)}" in str(
                too_few(f"steady_latency_ns_{name}", tables)
            )


def test_the_reason_names_the_options_that_give_enough() -> None:
    asked = {"min_iterations": 10, "max_duration_s": 60.0}
    few = process({"steady": [MS] * 10}, **asked)
    assert too_few("steady_latency_ns_p99", few) == (
        "p99 takes 662 queries per process, and one had 10: `--min-iterations 662`"
    )
    # A second each: 64 of them take longer than a process is given, and 1.2 times that is asked for.
    slow = process({"steady": [1000 * MS] * 10}, **asked)
    assert too_few("steady_latency_ns_p90", slow) == (
        "p90 takes 64 queries per process, and one had 10: `--min-iterations 64 --max-duration 77`"
    )
    # Enough were asked for, and time ran out.
    late = process({"steady": [1000 * MS] * 60}, min_iterations=64, max_duration_s=60.0)
    assert too_few("steady_latency_ns_p90", late) == (
        "p90 takes 64 queries per process, and one had 60: `--max-duration 77`"
    )


def test_tokens_are_samples_and_answers_are_what_can_be_asked_for() -> None:
    tables = process({"generate": [9 * MS] * 4, "decode": [MS] * 120}, min_iterations=4, max_duration_s=60.0)
    assert METRICS["decode_latency_ns_p90"].per_process(tables).to_dict() == {"a": MS}
    # 662 tokens of thirty an answer are in 23 answers.
    assert too_few("decode_latency_ns_p99", tables) == (
        "p99 takes 662 tokens per process, and one had 120: `--min-iterations 23`"
    )


def test_an_estimate_is_one_sample_and_asks_for_no_more() -> None:
    tables = process({"steady": [MS]}, "estimated")
    assert METRICS["steady_latency_ns_p90"].per_process(tables).to_dict() == {}
    assert too_few("steady_latency_ns_p90", tables) is None


def of(phase: str) -> list[Metric]:
    """The percentiles of a phase that always stand in a comparison."""
    return [m for m in CATALOGUE if re.fullmatch(rf"{phase}_latency_ns_p\d+", m.name) and m.main and not m.where_known]


@pytest.mark.parametrize(
    ("scenario", "phase", "samples"),
    [
        ("single-stream", "steady", 1),
        ("multi-stream", "multi_stream", 1),
        ("server", "server", 1),
        ("generate", "prefill", 1),
        ("generate", "decode", 23),
        ("flash", "prefill", 1),
        ("flash", "decode", 61),
    ],
)
def test_what_always_stands_in_a_comparison_can_be_told_from_the_queries_of_the_default(
    scenario: str, phase: str, samples: int
) -> None:
    """`samples` a query: of generation those of the answers that the catalogue of scenarios speaks of."""
    found = of(phase)
    assert found
    for metric in found:
        share = float("0." + metric.name.rpartition("p")[2])
        assert SCENARIOS[scenario].queries * samples >= fewest_samples(share), metric.name


def test_the_help_says_the_default_of_each_scenario_and_what_percentiles_take() -> None:
    (option,) = [one for one in run.params if one.name == "min_iterations"]
    text = str(getattr(option, "help", ""))
    said = {name: int(number) for number, name in re.findall(r"(\d+) of ([a-z-]+)", text)}
    assert said.keys() == {"single-stream", "generate", "offline", "server", "multi-stream", "flash"}
    assert said == {name: SCENARIOS[name].queries for name in said}
    assert dict(re.findall(r"p(\d+) (?:takes )?(\d+)", text)) == {"90": "64", "99": "662"}
