"""Minutes of queries, on a clock that only moves when the model works."""

from __future__ import annotations

import gc

import pytest
from fakes.clock import FakeClock
from fakes.jobs import make_job
from hypothesis import given
from hypothesis import strategies as st

from harness.scenarios.closed_loop import MINUTE_NS, sustain
from harness.scenarios.queries import EveryNth, Series

pytestmark = pytest.mark.usefixtures("uncollected_at_once")

SECOND = 1_000_000_000


@pytest.fixture
def uncollected_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a whole test run in memory a collection takes a tenth of a second."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class Scripted:
    """A query of a fixed duration, with two samples of a second phase."""

    def __init__(self, clock: FakeClock, cost: int) -> None:
        self._clock, self._cost, self.calls = clock, cost, 0
        self.phases = {"one": Series(), "two": Series()}

    def __call__(self) -> int:
        for series in (self.phases["one"], self.phases["two"], self.phases["two"]):
            series.start_ns.append(self._clock())
            series.duration_ns.append(self.calls)
        self._clock.advance(self._cost)
        self.calls += 1
        return self._cost


@given(cost=st.integers(SECOND, 200 * SECOND), minutes=st.integers(1, 6), pause=st.integers(0, 30 * SECOND))
def test_every_whole_minute_is_told_once_between_two_queries(cost: int, minutes: int, pause: int) -> None:
    clock = FakeClock(0)
    query, told = Scripted(clock, cost), []

    def at_minute(minute: int) -> None:
        told.append((minute, clock()))
        clock.advance(pause)

    count = sustain(query, make_job(min_iterations=1, min_duration_s=60.0 * minutes), clock, at_minute)
    assert count == query.calls
    numbers = [minute for minute, _ in told]
    assert numbers == sorted(set(numbers))
    assert all(moment // MINUTE_NS == minute for minute, moment in told)
    assert numbers[-1] >= minutes, "the last minute is told too"
    assert clock() >= 60 * SECOND * minutes
    # It does not go on when the time is over: the last query began before, unless telling a minute took so long.
    assert query.phases["one"].start_ns[-1] < 60 * SECOND * minutes


def test_a_short_run_asks_for_as_many_queries_as_were_wanted_and_has_no_minute() -> None:
    clock = FakeClock()
    told: list[int] = []
    assert sustain(Scripted(clock, 5), make_job(min_iterations=3, min_duration_s=0.0), clock, told.append) == 3
    assert told == []


def test_the_garbage_collector_is_off_meanwhile_and_on_after() -> None:
    clock = FakeClock(0)
    seen: list[bool] = []
    job = make_job(min_iterations=1, min_duration_s=60.0)
    sustain(Scripted(clock, 70 * SECOND), job, clock, lambda _: seen.append(gc.isenabled()))
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.parametrize(("stride", "kept"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6])])
def test_one_query_in_a_stride_leaves_its_samples_and_all_are_asked(stride: int, kept: list[int]) -> None:
    clock = FakeClock()
    inner = Scripted(clock, 7)
    query = EveryNth(inner, stride)
    assert [query() for _ in range(7)] == [7] * 7
    assert inner.calls == 7
    assert query.phases["one"].duration_ns == kept
    assert query.phases["two"].duration_ns == [call for call in kept for _ in range(2)]
    assert len(query.phases["two"].start_ns) == 2 * len(kept)


def test_a_stride_goes_on_when_a_minute_has_emptied_the_series() -> None:
    query = EveryNth(Scripted(FakeClock(), 7), 3)
    for _ in range(4):
        query()
    for series in query.phases.values():
        series.clear()
    for _ in range(3):
        query()
    assert query.phases["one"].duration_ns == [6]
