"""MLPerf's real LoadGen drives what our scenarios drive, where its wheel is installed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from bench.loadgen import PERCENTILES, loadgen_arrivals, loadgen_latencies, percentiles

pytest.importorskip("mlperf_loadgen", reason="the extra `loadgen` is not installed")


@pytest.mark.parametrize("rate", [None, 2000.0])
def test_loadgen_asks_every_query_of_our_execute_and_tells_its_latencies(rate: float | None) -> None:
    calls: list[int] = []
    found = loadgen_latencies(lambda: calls.append(1), 100, rate)
    assert len(calls) == 100
    assert set(PERCENTILES) <= found.keys()
    assert 0 < found[50] <= found[90] <= found[99]


def test_the_arrivals_made_again_are_those_of_loadgen() -> None:
    asked: list[int] = []
    loadgen_latencies(lambda: asked.append(time.perf_counter_ns()), 60, 100.0, seed=7)

    def spread(seed: int) -> float:
        """How far the moments are from these arrivals, once their common beginning is taken off."""
        return float(np.subtract(asked, loadgen_arrivals(seed, 100.0, 60)).std())

    # However late this machine is, it is later than the arrivals of another seed by their whole difference.
    assert spread(7) < min(spread(seed) for seed in (1, 8, 70)) / 3


def test_percentiles_are_samples_as_loadgen_chooses_them() -> None:
    assert percentiles(range(200, 0, -1)) == {50.0: 101, 90.0: 181, 99.0: 199}
