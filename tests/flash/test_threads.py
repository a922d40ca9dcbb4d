"""Threads that read: where they run, and that an interrupt leaves none of them writing."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.flash.io import threads
from harness.flash.io.arena import Arena

PIECES, BYTES = 64, 512


def pieces(count: int = PIECES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers = np.arange(count, dtype=np.int64)
    return numbers * BYTES, np.full(count, BYTES), numbers


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "f").write_bytes(bytes(PIECES * BYTES))
    number = os.open(tmp_path / "f", os.O_RDONLY)
    yield number
    os.close(number)


@pytest.mark.parametrize("together", [True, False])
def test_where_the_threads_run(descriptor: int, together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together on one processor of the caller's, who keeps its own choice; or wherever the caller may be."""
    before, seen = os.sched_getaffinity(0), []

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        seen.append((threading.get_ident(), frozenset(os.sched_getaffinity(0))))
        time.sleep(0.001)  # time for the others
        return sum(len(buffer) for buffer in buffers)

    monkeypatch.setattr(os, "preadv", preadv)
    with threads.reading(descriptor, Arena(PIECES, BYTES), 4, together=together) as transfer:
        transfer(*pieces())
    assert len({thread for thread, _ in seen}) == 4
    assert {processors for _, processors in seen} == {frozenset({max(before)} if together else before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(("depth", "count"), [(1, PIECES), (8, 1)])
def test_one_read_at_a_time_needs_no_other_thread(
    descriptor: int, depth: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        seen.add(threading.get_ident())
        return sum(len(buffer) for buffer in buffers)

    monkeypatch.setattr(os, "preadv", preadv)
    with threads.reading(descriptor, Arena(PIECES, BYTES), depth, together=True) as transfer:
        transfer(*pieces(count))
    assert seen == {threading.get_ident()}


def test_when_an_interrupt_arrives_no_read_is_under_way(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if offset == 0:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.05)
        with lock:
            running -= 1
        return sum(len(buffer) for buffer in buffers)

    monkeypatch.setattr(os, "preadv", preadv)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it in its workers
    try:
        with threads.reading(descriptor, Arena(PIECES, BYTES), 4, together=True) as transfer:
            with pytest.raises(KeyboardInterrupt):
                transfer(*pieces())
            assert most > 1
            assert running == 0
    finally:
        signal.signal(signal.SIGINT, before)
