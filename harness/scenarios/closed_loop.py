"""Queries back to back, each asked when the one before was answered: until durations are steady, for as many as were
asked for, for minutes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.job import Job
from harness.scenarios.queries import Clock, Query, Series
from harness.statistics.steady import SteadyRule

MINUTE_NS = 60_000_000_000


def warm_up(query: Query, max_warmup_s: float, clock: Clock, rule: SteadyRule) -> tuple[Series, bool]:
    """Ask until the rule finds the durations steady or the cap is reached; says which. The query's own series are
    emptied after.
    """
    warmup, cap_ns = Series(), int(max_warmup_s * 1e9)
    begin = clock()
    while not rule.steady and (not warmup.start_ns or clock() - begin < cap_ns):
        warmup.start_ns.append(clock())
        warmup.duration_ns.append(query())
        rule.add(warmup.duration_ns[-1])
    for series in query.phases.values():
        series.clear()
    return warmup, rule.steady


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: a collection in the middle would be charged to one unlucky query."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def repeat(query: Query, job: Job, clock: Clock) -> int:
    """Ask until both `min_iterations` and `min_duration_s` are reached, or `max_duration_s` is; returns the number of
    queries.
    """
    least_ns, most_ns = int(job.min_duration_s * 1e9), int(job.max_duration_s * 1e9)
    with uncollected():
        begin, count = clock(), 0
        while True:
            elapsed = clock() - begin
            if (count >= job.min_iterations and elapsed >= least_ns) or (count and elapsed >= most_ns):
                return count
            query()
            count += 1


def sustain(query: Query, job: Job, clock: Clock, at_minute: Callable[[int], None]) -> int:
    """Ask until both `min_iterations` and `min_duration_s` are reached; returns the number of queries.

    `at_minute` is called between two queries after each whole minute, with its number: 1 after the first.
    """
    least_ns = int(job.min_duration_s * 1e9)
    with uncollected():
        begin, count, minute = clock(), 0, 0
        while count < job.min_iterations or clock() - begin < least_ns:
            query()
            count += 1
            if (over := (clock() - begin) // MINUTE_NS) > minute:
                minute = over
                at_minute(minute)
    return count
