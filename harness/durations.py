"""How long the steps of a task took the last time on this machine, and what that says of the time that is left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.atomic_files import locked, replacing_file
from harness.folders import cache_folder

OnStep = Callable[[str], None]
"""What long work calls with the name of each of its steps as the step begins."""
# A share of a step from which its duration is extrapolated; below it the last time is the better guess.
_TRUSTED_SHARE = 0.1
# Seconds by which steps may differ from the last time before that says much of the steps to come.
_CALM_S = 5.0


def unheard(step: str) -> None:
    """An `OnStep` for callers that show nothing."""


def in_words(seconds: float) -> str:
    """A duration for a person: `24 s`, `2 min 32 s`, `1 h 5 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s" if total % 60 else f"{total // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


class TaskClock:
    """A clock for the task `key`: its caller says which step begins, and how far that has come; anyone may ask how long
    the rest will take. What a step took is recorded in the cache folder when the task has ended well.
    """

    def __init__(self, key: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._key, self._now_s = key, now_s
        self._last = _read().get(key, {})
        self._taken: dict[str, float] = {}
        self._started_s = self._step_started_s = now_s()
        self._progress: tuple[float, float] | None = None
        self.step: str | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first step began."""
        return 0.0 if self.step is None else self._now_s() - self._started_s

    def begin(self, step: str) -> None:
        """The step of that name begins, and the one before it has ended."""
        now_s = self._now_s()
        if self.step is None:
            self._started_s = now_s
        else:
            self._taken[self.step] = self._taken.get(self.step, 0.0) + now_s - self._step_started_s
        self._progress, self._step_started_s, self.step = None, now_s, step

    def within(self, done: float, total: float) -> None:
        """So much of the step is done."""
        share = min(1.0, done / total) if total > 0 else 0.0
        self._progress = (share, self._now_s() - self._step_started_s)

    def left_s(self) -> float | None:
        """Seconds until the task ends, as far as is known; None where nothing is.

        Steps to come are expected to take what they took the last time, times how much slower or faster those until now
        are: a task that is late stays late. The first time it is the rest of this step alone.
        """
        if self.step is None:
            return None
        spent_s, last_s = self._now_s() - self._step_started_s, self._last.get(self.step)
        step_s = self._extrapolated_s()
        if step_s is None:
            if last_s is None:
                return None
            step_s = last_s * self._slower()
        after = [seconds for step, seconds in self._last.items() if step not in self._taken and step != self.step]
        return max(0.0, step_s - spent_s) + self._slower(max(spent_s, step_s), last_s or 0.0) * sum(after)

    def sentence(self) -> str:
        """The step, the time, and the time that is left: `lowering, 32 s, about 40 s left`."""
        begun, left_s = f"{self.step}, {in_words(self.elapsed_s)}", self.left_s()
        if left_s is None:
            return f"{begun} (the first time here: no estimate)"
        last_s = sum(self._last.values())
        if left_s < 0.5:
            late = self._last and self.elapsed_s > last_s
            return f"{begun}, longer than the last time ({in_words(last_s)})" if late else f"{begun}, almost done"
        return f"{begun}, about {in_words(left_s)} left{'' if self._last else ' of this step'}"

    def finish(self) -> None:
        """Record what each step took, for the next time. A folder that cannot be written is no error."""
        if self.step is None:
            return
        self.begin(self.step)
        path = _path()
        with suppress(OSError), locked(path.with_name(f".{path.name}.lock")):
            recorded = _read() | {self._key: {step: round(taken, 3) for step, taken in self._taken.items()}}
            with replacing_file(path) as file:
                file.write(json.dumps(recorded, indent=1).encode())

    def _extrapolated_s(self) -> float | None:
        """What the whole step takes, from how much of it was done how soon."""
        if self._progress is None or self._progress[0] < _TRUSTED_SHARE:
            return None
        share, seconds = self._progress
        return seconds / share

    def _slower(self, step_s: float = 0.0, last_s: float = 0.0) -> float:
        """How many times as long the steps until now take as the last time, with one that takes `step_s` and took
        `last_s`. A few seconds more or less make no difference.
        """
        both = [(taken, self._last[step]) for step, taken in self._taken.items() if step in self._last]
        both += [(step_s, last_s)] if last_s else []
        return (_CALM_S + sum(now_s for now_s, _ in both)) / (_CALM_S + sum(before_s for _, before_s in both))


def _path() -> Path:
    return cache_folder() / "durations.json"


def _read() -> dict[str, dict[str, float]]:
    """Seconds by task and step; none where there is no file, or it was damaged."""
    try:
        recorded = json.loads(_path().read_bytes())
        return {str(key): {str(step): float(taken) for step, taken in steps.items()} for key, steps in recorded.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
