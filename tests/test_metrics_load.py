"""Metrics of servers and of sustained load, on samples whose answer is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics import CATALOGUE
from harness.statistics.early_stopping import FEWEST_QUERIES, holds, late_allowed
from harness.store.dataset import Tables
from harness.store.schemas import RUNS, SAMPLES, SCALARS

METRICS = {metric.name: metric for metric in CATALOGUE}
MS = 1_000_000
MINUTE = 60_000_000_000
BOUND = 15 * MS


def tables(
    samples: dict[str, dict[str, list[tuple[int, int]]]],
    rates: dict[str, dict[str, float]] | None = None,
    bounds: dict[str, int | None] | None = None,
) -> Tables:
    """Samples (start, duration) by attempt and phase, rates by attempt and phase, bounds by attempt."""
    rows: list[dict[str, Any]] = [
        {"attempt_id": attempt, "phase": phase, "iteration": i, "start_ns": start, "duration_ns": duration}
        for attempt, phases in samples.items()
        for phase, values in phases.items()
        for i, (start, duration) in enumerate(values)
    ]
    scalars = [
        {"attempt_id": attempt, "name": "rate_queries_per_s", "phase": phase, "value": rate}
        for attempt, phases in (rates or {}).items()
        for phase, rate in phases.items()
    ]
    runs = [
        {"attempt_id": attempt, "job_json": json.dumps({"latency_bound_ns": (bounds or {}).get(attempt)})}
        for attempt in samples
    ]
    frames = (
        pa.Table.from_pylist(found, schema=schema).to_pandas()
        for found, schema in ((runs, RUNS), (rows, SAMPLES), (scalars, SCALARS))
    )
    return Tables(*frames)


def queries(count: int, late: int, cost: int = MS) -> list[tuple[int, int]]:
    """So many queries, the last of them late."""
    return [(i, cost if i < count - late else 20 * MS) for i in range(count)]


def test_the_rate_is_the_highest_of_the_trials_that_held() -> None:
    found = tables(
        {
            "search": {
                "server_1": queries(1000, 1, 3 * MS),
                "server_2": queries(1000, 3, 5 * MS),
                "server_3": queries(1000, 2, 4 * MS),
                "server_3_service": [(0, 1)] * 1000,
            },
            "short": {"server_1": queries(458, 0)},
            "late": {"server": queries(1000, 40, 2 * MS)},
            "boundless": {"server": queries(200, 1)},
            "another": {"steady": [(0, 5)]},
        },
        {
            "search": {"server_1": 70.0, "server_2": 90.0, "server_3": 80.0},
            "short": {"server_1": 10.0},
            "late": {"server": 50.0},
            "boundless": {"server": 60.0},
        },
        {"search": BOUND, "short": BOUND, "late": BOUND},
    )

    def value(name: str) -> dict[str, float]:
        series: dict[str, float] = METRICS[name].per_process(found).to_dict()
        return series

    assert value("server_queries_per_s") == {"search": 80.0}
    # Latencies are those of the rate that held, or of the one that was asked for, whether or not it held.
    assert value("server_latency_ns_p50") == {"search": 4 * MS, "late": 2 * MS, "boundless": MS}
    # Two hundred queries are enough for p90, a thousand for p99, and 6636 for p99.9.
    assert value("server_latency_ns_p90") == {"search": 4 * MS, "late": 2 * MS, "boundless": MS}
    assert value("server_latency_ns_p99") == {"search": 4 * MS, "late": 20 * MS}
    assert value("server_latency_ns_p999") == {}
    assert list(METRICS["server_latency_ns_p99"].too_few(found)) == ["boundless"]  # type: ignore[misc]
    assert value("steady_latency_ns_p50") == {"another": 5.0}


@given(queries=st.integers(1, 20_000), late=st.integers(0, 300))
def test_the_rule_is_that_of_loadgen(queries: int, late: int) -> None:
    """LoadGen asks for h + t queries, h the least with P(at most t late of h + t) <= 1 %, from the binomial by hand."""
    late = min(late, queries)
    terms = np.arange(1, late + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log((queries - terms + 1) / terms) + np.log(0.01 / 0.99))])
    probability = np.exp(logs + queries * np.log(0.99)).sum()
    if abs(probability - 0.01) > 1e-9:
        assert holds(queries, late) == (probability <= 0.01)


def test_the_fewest_queries_of_the_rule_are_those_of_loadgen() -> None:
    assert [late_allowed(n) for n in (1, 458, 459, 661, 662)] == [-1, -1, 0, 0, 1]
    assert FEWEST_QUERIES == 459
    assert holds(np.array([458, 459, 662, 662]), np.array([0, 0, 1, 2])).tolist() == [False, True, True, False]


def sustained(levels: list[int], noise: float = 0.002) -> list[tuple[int, int]]:
    """Ten queries a minute at these levels, and one that begins as the time is over."""
    random = np.random.default_rng(1)
    made = [
        (minute * MINUTE + i * MINUTE // 10, int(level * random.normal(1, noise)))
        for minute, level in enumerate(levels)
        for i in range(10)
    ]
    return [*made, (len(levels) * MINUTE - 1, levels[-1])]


def test_the_plateau_is_what_follows_the_last_change_of_level() -> None:
    cool, hot = 10 * MS, 14 * MS
    found = tables(
        {
            "hot": {"sustained": sustained([cool] * 4 + [12 * MS] * 5 + [hot] * 11)},
            "steady": {"sustained": sustained([cool] * 20)},
            "five": {"sustained": sustained([cool, cool, cool, hot, hot])},
            "seconds": {"sustained": [(0, 3), (10, 5), (20, 100)]},
        }
    )

    def value(name: str) -> dict[str, float]:
        series: dict[str, float] = METRICS[name].per_process(found).to_dict()
        return series

    near = {"rel": 0.01}
    assert value("sustained_first_minute_latency_ns_p50") == {
        "hot": pytest.approx(cool, **near),
        "steady": pytest.approx(cool, **near),
        "five": pytest.approx(cool, **near),
        "seconds": 5,
    }
    assert value("sustained_last_minute_latency_ns_p50") == {
        "hot": pytest.approx(hot, **near),
        "steady": pytest.approx(cool, **near),
        "five": pytest.approx(hot, **near),
    }
    plateau = value("sustained_plateau_latency_ns_p50")
    assert plateau == {"hot": pytest.approx(hot, **near), "steady": pytest.approx(cool, **near)}
    assert value("time_to_plateau_ns") == {"hot": 9 * MINUTE, "steady": 0.0}


def test_a_minute_that_was_cut_short_is_left_out() -> None:
    found = tables({"a": {"sustained": [(0, 7), (MINUTE, 9), (2 * MINUTE, 50), (2 * MINUTE + MINUTE // 2, 50)]}})
    name = "sustained_last_minute_latency_ns_p50"
    assert METRICS[name].per_process(found).to_dict() == {"a": 9.0}
