"""MLPerf's server: queries arrive at random, whether or not the last was answered, and wait in a queue.

V. J. Reddi et al., "MLPerf Inference Benchmark", arXiv 1911.02549: arrivals are a Poisson process, and the figure is
the highest rate whose p99 stays within a bound. A latency is completion minus *scheduled* arrival: a query that could
not be asked in time because the one before it stalled has waited, whoever looks at service times alone never sees it
(coordinated omission). One process serves the queue, first come first served.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.job import Job
from harness.scenarios.closed_loop import uncollected
from harness.scenarios.queries import Clock, Query, Series
from harness.statistics.early_stopping import late_allowed

WaitUntil = Callable[[int], None]

RESOLUTION = 1.05
"""A search ends when the lowest rate that failed is at most so many times the highest that held."""
# The first rate, as a share of what the model could serve without ever waiting, and how often it is halved.
_FIRST, _HALVINGS = 0.7, 6
# A sleeper wakes up late by what the kernel allows itself, so the last stretch is spent looking at the clock.
_SPIN_NS = 500_000


@dataclass
class Trial:
    """Queries at one rate. `latency` begins at the scheduled arrival, `service` when the query was asked."""

    rate_queries_per_s: float
    latency: Series = field(default_factory=Series)
    service: Series = field(default_factory=Series)

    def late(self, bound_ns: int) -> int:
        """How many queries took longer than the bound."""
        return sum(duration > bound_ns for duration in self.latency.duration_ns)


def wait_until(moment_ns: int) -> None:
    """Return when `time.perf_counter_ns` has reached a moment, at once where it has passed."""
    left = moment_ns - time.perf_counter_ns()
    if left > _SPIN_NS:
        time.sleep((left - _SPIN_NS) / 1e9)
    while time.perf_counter_ns() < moment_ns:
        pass


def schedule(job: Job, rate_queries_per_s: float, queries: int) -> list[int]:
    """Arrivals of a Poisson process in ns after the start. The same job has the same ones, and so have the jobs of
    other models in its block and, stretched, those at another rate: what differs is the model.
    """
    source = random.Random(f"{job.seed}/{job.block}")
    gaps = (source.expovariate(1.0) for _ in range(queries))
    return [int(moment * 1e9 / rate_queries_per_s) for moment in itertools.accumulate(gaps)]


def queries_at(job: Job, rate_queries_per_s: float, service_ns: float) -> int:
    """How many queries a trial has: `min_iterations`, and what arrives in `min_duration_s`; but no more than arrive,
    and can be served, in `max_duration_s`. At least one.
    """
    most = job.max_duration_s * min(rate_queries_per_s, 1e9 / max(service_ns, 1.0))
    return max(1, int(min(max(job.min_iterations, rate_queries_per_s * job.min_duration_s), most)))


def serve(
    query: Query,
    rate_queries_per_s: float,
    arrivals_ns: list[int],
    clock: Clock,
    wait: WaitUntil = wait_until,
    give_up: Callable[[int], bool] = lambda latency_ns: False,
) -> Trial:
    """One trial: every query is asked at its arrival, or when the ones before it have been answered.

    It ends after the last, or when `give_up` says so of a latency. The query's own series are emptied after.
    """
    trial = Trial(rate_queries_per_s)
    latency, service = trial.latency, trial.service
    with uncollected():
        origin = clock()
        for offset in arrivals_ns:
            arrival = origin + offset
            wait(arrival)
            service.start_ns.append(clock())
            service.duration_ns.append(query())
            latency.start_ns.append(arrival)
            latency.duration_ns.append(clock() - arrival)
            if give_up(latency.duration_ns[-1]):
                break
    for series in query.phases.values():
        series.clear()
    return trial


def giving_up(bound_ns: int, queries: int) -> Callable[[int], bool]:
    """What ends a trial that can no longer hold the bound: more late queries than `queries` may have."""
    left = late_allowed(queries) + 1

    def give_up(latency_ns: int) -> bool:
        nonlocal left
        left -= latency_ns > bound_ns
        return left <= 0

    return give_up


def search(holds: Callable[[float], bool], capacity_queries_per_s: float) -> float | None:
    """The highest rate that `holds`, to within `RESOLUTION`; None where none does.

    `capacity_queries_per_s` is what could be served without a pause: no queue is stable there, so it counts as failed.
    Rates are halved until one holds, then the gap is bisected on a logarithmic scale.
    """
    low, high, rate = 0.0, capacity_queries_per_s, _FIRST * capacity_queries_per_s
    for _ in range(_HALVINGS):
        if holds(rate):
            low = rate
            break
        high, rate = rate, rate / 2
    if not low:
        return None
    while high / low > RESOLUTION:
        rate = math.sqrt(low * high)
        if holds(rate):
            low = rate
        else:
            high = rate
    return low
