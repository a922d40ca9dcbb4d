"""The energy of one worker process: idle first, then the window that it timed.

It is a pass of its own (`measure` "energy"), not part of the latency pass: a window must be long enough for its source
(ten seconds and more, where a latency needs one), and asking for power, over a phone's shell above all, takes power and
a processor from what is timed. The harness reads, not the worker: so any worker can be metered, native ones and those
on another machine too, a counter is asked often enough to see it wrap, and the idle stretch is read alike. The worker's
own samples say how long the window was, and the moment at which it says so when it ended; what lies between that and
the end is a pipe or a cable, a millisecond or so of ten seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.conditions.readings import Reading
from harness.energy.recorder import Recorder
from harness.energy.series import Series, window
from harness.energy.source import TICKS, NoEnergy, Source
from harness.job import Job
from harness.measurement import Measurement
from harness.protocol import Event, Samples, Scalar

_BEFORE = ("first", "warmup")
_NOT_FOUND = "the worker timed no window of many queries"
# Seconds by which the wall clock may move against the monotonic one while a process is metered.
_DRIFT_S = 0.1


@dataclass(frozen=True)
class Windows:
    """When the device was idle and when it worked, in seconds of one clock; `phase` is that of whole queries."""

    idle: tuple[float, float]
    timed: tuple[float, float]
    phase: str


class Meter:
    """Of one process: `begin`, then `heard` for every event, then `end`; then `scalars`."""

    def __init__(self, source: Source, sleep: Callable[[float], None] = time.sleep) -> None:
        self.source = source
        self._sleep = sleep
        self._recorder = Recorder(source) if source.read is not None else None
        self._idle = (0.0, 0.0)
        self._arrivals: list[tuple[float, int | None]] = []
        self._wall: list[float] = []

    def begin(self, window_s: float = 0.0) -> None:
        """Start reading, and let the device be idle for half the window: that of the source, or a longer `window_s`."""
        self._wall.append(time.time() - time.perf_counter())
        if self._recorder is not None:
            self._recorder.start()
        start = time.perf_counter()
        self._sleep(max(self.source.window_s, window_s) / 2)
        self._idle = (start, time.perf_counter())

    def heard(self, event: Event) -> None:
        """Remember when the worker spoke of the end of its window: its count of queries, then its samples."""
        if isinstance(event, Scalar) and event.name == "queries":
            self._arrivals.append((time.perf_counter(), None))
        elif isinstance(event, Samples) and event.phase not in _BEFORE and event.duration_ns:
            self._arrivals.append((time.perf_counter(), _end_ns(event)))

    def end(self) -> None:
        """Stop reading; more than once is no error."""
        if self._recorder is not None:
            self._recorder.stop()
        self._wall.append(time.time() - time.perf_counter())

    def windows(self, measurement: Measurement, *, wall: bool = False) -> Windows:
        """By the clock of `time.perf_counter`, or by this machine's wall clock in Unix seconds. Raises NoEnergy."""
        timed = [event for event in measurement.samples if event.phase not in _BEFORE and event.duration_ns]
        if not timed or not self._arrivals:
            raise NoEnergy(_NOT_FOUND)
        if wall and max(self._wall) - min(self._wall) > _DRIFT_S:
            raise NoEnergy("this machine's clock was set while it was measured")
        offset = self._wall[0] if wall else 0.0
        end_ns = max(map(_end_ns, timed))
        # The worker's clock may have any origin. What it says arrives late, never early: the earliest is the best.
        lag_s = min(at - (end_ns if sent_ns is None else sent_ns) / 1e9 for at, sent_ns in self._arrivals) + offset
        start_ns = min(min(event.start_ns) for event in timed)
        lasted_ns: Counter[str] = Counter()  # a phase may be reported in several events
        for event in timed:
            lasted_ns[event.phase] += sum(event.duration_ns or ())
        ((longest_phase, _),) = lasted_ns.most_common(1)
        idle = (self._idle[0] + offset, self._idle[1] + offset)
        return Windows(idle, (start_ns / 1e9 + lag_s, end_ns / 1e9 + lag_s), longest_phase)

    def scalars(self, measurement: Measurement, job: Job) -> list[Scalar]:
        """What a source that is read at once says of the process; a meter with a file has nothing to say yet."""
        if self._recorder is None:
            return []
        try:
            return [*energies(self._recorder.series(), self.windows(measurement), job)]
        except NoEnergy as error:
            return unmeasured(job, str(error))

    def readings(self, measurement: Measurement) -> list[Reading]:
        """How it was obtained, for the environment: the windows as intervals of ISO 8601, in UTC."""
        read = self._recorder is not None
        clock = "monotonic clock of the harness" if read else "wall clock of the harness; that of the file is believed"
        period = f"{self.source.period_s:g}" if read else None
        try:
            timed, reason = _interval(self.windows(measurement, wall=True).timed), None
        except NoEnergy as error:
            timed, reason = None, str(error)
        return [
            Reading("energy_source", self.source.name),
            Reading("energy_tier", self.source.tier),
            Reading("energy_period_s", period, None if period else "that of the file"),
            Reading("energy_clock", clock),
            Reading("energy_idle", _interval((self._idle[0] + self._wall[0], self._idle[1] + self._wall[0]))),
            Reading("energy_window", timed, reason),
        ]


def energies(series: dict[str, Series], windows: Windows, job: Job) -> Iterator[Scalar]:
    """Joules, watts and the resolution of the timed window, in total ("") and of every part; the power when idle,
    and what was drawn over it. Raises NoEnergy where the total has no figure.
    """
    timed = window(series[""], *windows.timed)
    yield Scalar(name="energy_j", value=timed.joules, phase=windows.phase)
    yield Scalar(name="power_w", value=timed.watts, phase=windows.phase)
    yield Scalar(name="energy_resolution_j", value=timed.resolution_j, phase=windows.phase)
    yield Scalar(name="energy_ticks", value=timed.ticks, phase=windows.phase)
    for part, part_series in series.items():
        if part and len(series) > 2:
            name = f"energy_{part.replace('-', '_').lower()}_j"
            try:
                yield Scalar(name=name, value=window(part_series, *windows.timed).joules, phase=windows.phase)
            except NoEnergy as error:
                yield Scalar(name=name, value=None, reason=str(error), phase=windows.phase)
    reason = None
    try:
        idle = window(series[""], *windows.idle, TICKS // 2)
        yield Scalar(name="idle_power_w", value=idle.watts)
        lasted_s = windows.timed[1] - windows.timed[0]
        net_j = timed.joules - idle.watts * lasted_s
        # The edges of the idle stretch weigh as much more as the window is longer.
        unsure_j = timed.resolution_j + idle.resolution_j * lasted_s / (windows.idle[1] - windows.idle[0])
        if net_j <= unsure_j:
            reason = f"what was drawn over idle, {net_j:.3g} J, is within the resolution of {unsure_j:.3g} J"
    except NoEnergy as error:
        reason = f"idle power was not measured: {error}"
        yield Scalar(name="idle_power_w", value=None, reason=reason)
    yield Scalar(name="net_energy_j", value=None if reason else net_j, reason=reason, phase=windows.phase)
    if reason:
        yield Scalar(name=f"net_joules_per_{_unit(job)}", value=None, reason=reason)


def unmeasured(job: Job, reason: str) -> list[Scalar]:
    """The nulls of a process without energy."""
    names = ("energy_j", f"joules_per_{_unit(job)}")
    return [Scalar(name=name, value=None, reason=reason) for name in names]


def _interval(window: tuple[float, float]) -> str:
    return "/".join(datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") for at in window)


def _unit(job: Job) -> str:
    return "query" if job.new_tokens is None else "token"


def _end_ns(event: Samples) -> int:
    return max(start + length for start, length in zip(event.start_ns, event.duration_ns or (), strict=True))
