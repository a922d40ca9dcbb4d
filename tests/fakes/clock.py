"""A clock that stands still until it is told to go on."""

from __future__ import annotations


class FakeClock:
    """Nanoseconds, as `time.perf_counter_ns` gives them."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds
