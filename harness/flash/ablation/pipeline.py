"""Reading and computing of neuron clusters, one after the other or overlapped (PowerInfer-2, arXiv 2406.06282).

The neurons of a layer are taken in clusters. Computing a cluster needs its own rows and nothing of the next one's, so
the next can be read meanwhile. Both ways call `compute` in the order of the clusters: results are the same to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from typing import TypeVar

Cluster = TypeVar("Cluster")
Clock = Callable[[], int]


@dataclass(frozen=True)
class Times:
    """Of one layer, in nanoseconds: `io_ns` the reader was busy, `wait_ns` nothing was computed for want of rows,
    `compute_ns` was spent in `compute`. One after the other `wait_ns` is `io_ns`; overlapped it is what could not be
    hidden.
    """

    io_ns: int
    wait_ns: int
    compute_ns: int


def serial(
    clusters: Sequence[Cluster],
    read: Callable[[Cluster], None],
    compute: Callable[[Cluster], None],
    clock: Clock = time.perf_counter_ns,
) -> Times:
    """Read a cluster, compute it, and only then go on to the next."""
    io_ns = compute_ns = 0
    for cluster in clusters:
        io_ns += _timed(read, cluster, clock)
        compute_ns += _timed(compute, cluster, clock)
    return Times(io_ns, io_ns, compute_ns)


def overlapped(
    clusters: Sequence[Cluster],
    read: Callable[[Cluster], None],
    compute: Callable[[Cluster], None],
    io: Executor,
    clock: Clock = time.perf_counter_ns,
) -> Times:
    """Compute each cluster as soon as it was read, while `io`, an executor of one thread, reads those behind it.

    Rows are read ahead without bound: every cluster has its own place in the arena. When a read or `compute` raises,
    so does this, after the read under way has ended, since it writes into the arena.
    """
    reads = [io.submit(_timed, read, cluster, clock) for cluster in clusters]
    wait_ns = compute_ns = 0
    try:
        for cluster, future in zip(clusters, reads, strict=True):
            wait_ns += _timed(lambda read: read.result(), future, clock)
            compute_ns += _timed(compute, cluster, clock)
    finally:
        for future in reads:
            future.cancel()
        wait(reads)
    return Times(sum(future.result() for future in reads), wait_ns, compute_ns)


T = TypeVar("T")


def _timed(call: Callable[[T], object], argument: T, clock: Clock) -> int:
    start = clock()
    call(argument)
    return clock() - start
