"""Reading and computing by turns and at once, on a clock that only moves when one of them does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from fakes.clock import FakeClock

from harness.flash.ablation.pipeline import Times, overlapped, serial

CLUSTERS = (0, 1, 2)


@pytest.fixture
def io() -> Iterator[Executor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def advancing(clock: FakeClock, costs: list[int], done: list[int]) -> Callable[[int], None]:
    """Does a cluster in the time that it costs, and notes it."""

    def call(cluster: int) -> None:
        clock.advance(costs[cluster])
        done.append(cluster)

    return call


def test_by_turns_all_reading_is_waited_for() -> None:
    clock, done = FakeClock(), []
    read, compute = advancing(clock, [10, 20, 30], done), advancing(clock, [1, 2, 3], done)
    assert serial(CLUSTERS, read, compute, clock) == Times(io_ns=60, wait_ns=60, compute_ns=6)
    assert done == [0, 0, 1, 1, 2, 2]


def test_at_once_a_cluster_is_read_while_the_one_before_it_is_computed(io: Executor) -> None:
    # Computing each cluster ends only when the next has been read, and that read only begins when computing has begun:
    # neither order of the two alone would ever end. So every read but the first costs 10 that nobody waited for.
    clock = FakeClock()
    computing, was_read = [threading.Event() for _ in CLUSTERS], [threading.Event() for _ in CLUSTERS]

    def read(cluster: int) -> None:
        if cluster:
            assert computing[cluster - 1].wait(20)
        clock.advance(10)
        was_read[cluster].set()

    def compute(cluster: int) -> None:
        computing[cluster].set()
        if cluster + 1 < len(CLUSTERS):
            assert was_read[cluster + 1].wait(20)
        clock.advance(1)

    times = overlapped(CLUSTERS, read, compute, io, clock)
    # What a clock shared by two threads shows of waiting depends on who looks first; the sum of the work does not.
    assert clock.now - FakeClock().now == 33
    assert times.wait_ns <= 10
    assert times.io_ns >= 30


@pytest.mark.parametrize("way", ["serial", "overlapped"])
def test_every_cluster_is_computed_in_order_after_it_was_read(way: str, io: Executor) -> None:
    was_read, computed = [], []

    def compute(cluster: int) -> None:
        assert cluster in was_read
        computed.append(cluster)

    if way == "serial":
        serial(range(50), was_read.append, compute)
    else:
        overlapped(range(50), was_read.append, compute, io)
    assert computed == list(range(50))


def test_sums_in_floating_point_are_the_same_to_the_bit(io: Executor) -> None:
    def total(way: Callable[..., Times], *more: Executor) -> float:
        arena, found = {}, [0.1]
        way(
            range(1, 40),
            lambda cluster: arena.update({cluster: 1 / cluster}),
            lambda cluster: found.append(found[-1] * 1.1 + arena[cluster]),
            *more,
        )
        return found[-1]

    assert total(overlapped, io) == total(serial)


def test_nothing_to_do_takes_no_time(io: Executor) -> None:
    assert serial([], list, list) == overlapped([], list, list, io) == Times(0, 0, 0)


def test_a_failed_read_is_raised_and_what_follows_is_not_computed(io: Executor) -> None:
    computed: list[int] = []

    def read(cluster: int) -> None:
        if cluster == 1:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        overlapped(CLUSTERS, read, computed.append, io)
    assert computed == [0]


def test_a_failed_computation_waits_for_the_read_under_way_and_begins_no_other() -> None:
    # A read that went on would write into an arena that others use by then.
    reading, raised = threading.Event(), threading.Event()
    finished: list[tuple[int, bool]] = []

    class Recording(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **more: Any) -> Future[Any]:
            futures.append(super().submit(*arguments, **more))
            return futures[-1]

    def read(cluster: int) -> None:
        if cluster == 1:
            reading.set()
            deadline = time.monotonic() + 5
            while not futures[2].cancelled() and time.monotonic() < deadline:
                time.sleep(0.001)
            raised.wait(0.3)
        finished.append((cluster, raised.is_set()))

    def compute(cluster: int) -> None:
        assert reading.wait(20)
        raise ZeroDivisionError

    futures: list[Future[Any]] = []
    with Recording(max_workers=1) as io:
        with pytest.raises(ZeroDivisionError):
            overlapped(CLUSTERS, read, compute, io)
        raised.set()
    assert finished == [(0, False), (1, False)]
    assert futures[2].cancelled()
