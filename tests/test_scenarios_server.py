"""A queue on a clock that only moves when the model works or the server waits."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes.clock import FakeClock
from fakes.jobs import make_job
from hypothesis import given
from hypothesis import strategies as st

from harness.scenarios.queries import MultiStreamQuery, SingleQuery
from harness.scenarios.server import RESOLUTION, Trial, giving_up, queries_at, schedule, search, serve
from harness.statistics.early_stopping import late_allowed

pytestmark = pytest.mark.usefixtures("uncollected_at_once")

MS = 1_000_000
TIMES = st.integers(0, 10**9)


@pytest.fixture
def uncollected_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a whole test run in memory a collection takes a tenth of a second."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def serving(costs: list[int], arrivals: list[int], give_up: Callable[[int], bool] = lambda _: False) -> Trial:
    """A trial of a model that takes `costs`, one a query, in ns."""
    clock, calls = FakeClock(), iter(costs)

    def wait(moment: int) -> None:
        clock.now = max(clock.now, moment)

    query = SingleQuery(lambda _: clock.advance(next(calls)) or (), (), "steady", clock)  # type: ignore[func-returns-value]
    return serve(query, 1.0, arrivals, clock, wait, give_up)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=60))
def test_latencies_are_those_of_lindleys_recursion(drawn: list[tuple[int, int]]) -> None:
    """D. V. Lindley, "The theory of queues with a single server": W' = max(0, W + S - A)."""
    gaps, costs = [gap for gap, _ in drawn], [cost for _, cost in drawn]
    arrivals = np.cumsum(gaps).tolist()
    waited, expected = 0, []
    for index, cost in enumerate(costs):
        if index:
            waited = max(0, waited + costs[index - 1] - gaps[index])
        expected.append(waited + cost)
    trial = serving(costs, arrivals)
    assert trial.latency.duration_ns == expected
    assert trial.service.duration_ns == costs
    assert trial.latency.start_ns == [1_000_000 + arrival for arrival in arrivals]
    # A query is never asked before it arrives, nor before the one before it was answered.
    ends = [start + duration for start, duration in zip(trial.service.start_ns, costs, strict=True)]
    assert all(start >= arrival for start, arrival in zip(trial.service.start_ns, trial.latency.start_ns, strict=True))
    assert all(end <= start for end, start in zip(ends, trial.service.start_ns[1:], strict=False))


def test_a_stall_shows_in_the_latency_of_all_who_waited_and_in_one_service_time_alone() -> None:
    """Coordinated omission: one stall of 100 ms among a thousand queries of 1 ms, one every 2 ms."""
    costs = [MS] * 1000
    costs[500] = 100 * MS
    trial = serving(costs, [2 * MS * index for index in range(1000)])
    latency, service = (np.array(series.duration_ns) / MS for series in (trial.latency, trial.service))
    assert np.quantile(latency, 0.999) == pytest.approx(100, abs=2)
    assert np.quantile(latency, 0.99) > 85, "a hundred queries waited for it"
    assert (latency > 2).sum() == 98
    assert np.quantile(service, 0.99) == 1
    assert (service > 2).sum() == 1
    # Whoever asks when the last query was answered sees one slow one: p99.9 of more than a thousand hides it.
    assert np.quantile(np.concatenate([service, np.ones(1000)]), 0.999) == 1
    assert np.quantile(np.concatenate([latency, np.ones(1000)]), 0.999) > 90


def test_an_idle_server_adds_nothing() -> None:
    trial = serving([3, 3, 3], [100, 200, 300])
    assert trial.latency.duration_ns == trial.service.duration_ns == [3, 3, 3]


@given(bound=st.integers(1, 50), costs=st.lists(st.integers(0, 100), min_size=1, max_size=200))
def test_a_trial_is_given_up_when_it_can_no_longer_hold_and_not_before(bound: int, costs: list[int]) -> None:
    queries = 800
    trial = serving(costs, [0] * len(costs), giving_up(bound, queries))
    latencies = np.cumsum(costs)
    late = np.cumsum(latencies > bound)
    over = np.flatnonzero(late > late_allowed(queries))
    assert len(trial.latency.duration_ns) == (over[0] + 1 if len(over) else len(costs))
    assert trial.late(bound) == late[len(trial.latency.duration_ns) - 1]


def test_arrivals_are_a_poisson_process() -> None:
    arrivals = np.array(schedule(make_job(), 50.0, 20_000)) / 1e9
    gaps = np.diff(arrivals)
    # Means and variances of 20,000 gaps are within 3 % and 6 % of those of the distribution, at four standard errors.
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.06)
    assert (gaps > 2 / 50).mean() == pytest.approx(math.exp(-2), abs=0.01)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03
    counts = np.bincount(arrivals.astype(int))[:-1]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.3)


@given(rate=st.floats(0.5, 1e5), factor=st.integers(2, 9), block=st.integers(0, 3))
def test_arrivals_of_a_block_are_the_same_at_every_rate_but_for_the_scale(rate: float, factor: int, block: int) -> None:
    job = make_job(block=block, scenario="server")
    slow, fast = (np.array(schedule(job, r, 50)) for r in (rate, rate * factor))
    assert np.abs(slow - factor * fast).max() <= factor + 1e-9 * slow.max()
    assert schedule(make_job(block=block, model="another", scenario="server"), rate, 50) == slow.tolist()
    assert schedule(make_job(block=block + 1), rate, 50) != slow.tolist()


@given(
    rate=st.floats(0.01, 1e7),
    service=st.floats(1.0, 1e10),
    fields=st.fixed_dictionaries(
        {
            "min_iterations": st.integers(1, 5000),
            "min_duration_s": st.floats(0, 100),
            "max_duration_s": st.floats(0, 100),
        }
    ),
)
def test_a_trial_lasts_no_longer_than_it_may(rate: float, service: float, fields: dict[str, Any]) -> None:
    job = make_job(**fields)
    queries = queries_at(job, rate, service)
    assert queries >= 1
    if queries > 1:
        assert queries / rate <= job.max_duration_s * (1 + 1e-9)
        assert queries * service / 1e9 <= job.max_duration_s * (1 + 1e-9)
    assert queries <= max(job.min_iterations, rate * job.min_duration_s)


@given(capacity=st.floats(1, 1e6), share=st.floats(0.022, 0.999))
def test_the_highest_rate_is_found_in_a_few_trials(capacity: float, share: float) -> None:
    asked: list[float] = []

    def holds(rate: float) -> bool:
        asked.append(rate)
        return rate <= share * capacity

    found = search(holds, capacity)
    assert found is not None
    assert found <= share * capacity < found * RESOLUTION * (1 + 1e-9)
    assert found in asked, "it was measured"
    assert len(asked) <= 12
    assert max(asked) < capacity


def test_a_search_ends_where_no_rate_holds() -> None:
    asked: list[float] = []
    assert search(lambda rate: bool(asked.append(rate)), 1000.0) is None  # type: ignore[func-returns-value]
    assert asked == sorted(asked, reverse=True)
    assert len(asked) == 6


@pytest.mark.parametrize("executes", [1, 4])
def test_a_multi_stream_query_lasts_until_its_last_sample(executes: int) -> None:
    clock = FakeClock(0)
    given_inputs: list[object] = []

    def execute(inputs: Any) -> tuple[()]:
        given_inputs.append(inputs)
        clock.advance(10)
        return ()

    query = MultiStreamQuery(execute, ("x",), executes, clock)
    assert query() == query() == 10 * executes
    assert query.phases["multi_stream"].duration_ns == [10 * executes] * 2
    assert query.phases["multi_stream"].start_ns == [0, 10 * executes]
    assert given_inputs == [("x",)] * 2 * executes
