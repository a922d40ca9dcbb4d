"""Which seconds are metered: the arithmetic of three clocks (the worker's, this machine's two), on clocks that are made
up, so that every figure is exact.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes.jobs import make_job

from harness.energy import meter as meter_module
from harness.energy import recorder as recorder_module
from harness.energy.meter import Meter, Windows, energies, unmeasured
from harness.energy.recorder import Recorder
from harness.energy.series import Series, from_power
from harness.energy.source import NoEnergy, Source
from harness.measurement import Measurement
from harness.protocol import Event, Samples, Scalar

SECOND = 1_000_000_000
# The worker's clock, this machine's monotonic one and its wall clock, at the same moment.
WORKER_NS, MONOTONIC_S, WALL_S = 123_456_789 * SECOND, 1000.0, 1_795_000_000.0


class Clocks:
    """`at` seconds after that moment; the wall clock may be set by `wall_s`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.wall_s = 0.0, 0.0
        told = SimpleNamespace(perf_counter=lambda: MONOTONIC_S + self.at, time=lambda: WALL_S + self.at + self.wall_s)
        monkeypatch.setattr(meter_module, "time", told)
        monkeypatch.setattr(recorder_module, "time", told)

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def samples(phase: str, start_s: float, *duration_s: float) -> Samples:
    """Iterations without pauses, by the worker's clock."""
    starts = start_s + np.concatenate([[0.0], np.cumsum(duration_s)[:-1]])
    return Samples(
        phase=phase,
        start_ns=[WORKER_NS + round(at * SECOND) for at in starts],
        duration_ns=[round(one * SECOND) for one in duration_s],
    )


# Idle from 0 to 6; 16 to 28 s are timed; the end is heard 2 ms late, the samples half a second later.
QUERIES = Scalar(name="queries", value=2)
TIMED: list[tuple[float, Event]] = [
    (9.0, samples("first", 8.0, 1.0)),
    (16.0, samples("warmup", 9.0, 4.0, 2.9)),
    (28.002, QUERIES),
    (28.5, samples("steady", 16.0, 5.0, 7.0)),
]


def metered(clocks: Clocks, events: list[tuple[float, Event]], set_s: float = 0.0) -> tuple[Meter, Measurement]:
    """A meter, with a file, that heard these events at these moments; the wall clock was set meanwhile."""
    meter, measurement = Meter(Source(name="file", tier="external", window_s=12.0), clocks.sleep), Measurement()
    meter.begin()
    for at, event in events:
        clocks.at = at
        measurement.add(event)
        meter.heard(event)
    clocks.at, clocks.wall_s = 30.0, set_s
    meter.end()
    return meter, measurement


def test_the_window_is_that_of_the_timed_queries_by_either_clock(clocks: Clocks) -> None:
    meter, measurement = metered(clocks, TIMED)
    for wall, origin in ((False, MONOTONIC_S), (True, WALL_S)):
        found = meter.windows(measurement, wall=wall)
        assert found.idle == pytest.approx((origin, origin + 6.0), abs=1e-6)
        assert found.timed == pytest.approx((origin + 16.002, origin + 28.002), abs=1e-6)
        assert found.phase == "steady"


@pytest.mark.parametrize(("window_s", "idle_s"), [(0.0, 6.0), (12.0, 6.0), (60.0, 30.0)])
def test_idleness_lasts_half_of_what_is_timed(clocks: Clocks, window_s: float, idle_s: float) -> None:
    meter = Meter(Source(name="file", tier="external", window_s=12.0), clocks.sleep)
    meter.begin(window_s)
    assert clocks.at == idle_s


def test_without_a_count_the_samples_say_when_it_ended(clocks: Clocks) -> None:
    meter, measurement = metered(clocks, [each for each in TIMED if each[1] is not QUERIES])
    assert meter.windows(measurement).timed == pytest.approx((MONOTONIC_S + 16.5, MONOTONIC_S + 28.5), abs=1e-6)


def test_the_phase_of_an_answer_is_that_which_lasted_longest_in_all_its_events(clocks: Clocks) -> None:
    """An answer of 12 s told in three parts, of which 11 s are decoding, told at once."""
    parts: list[tuple[float, Event]] = [(28.0, samples("generate", 16.0 + 4 * part, 4.0)) for part in range(3)]
    decoding = (28.0, samples("decode", 17.0, 5.5, 5.5))
    meter, measurement = metered(clocks, [*parts, decoding])
    found = meter.windows(measurement)
    assert found.phase == "generate"
    assert found.timed == pytest.approx((MONOTONIC_S + 16.0, MONOTONIC_S + 28.0), abs=1e-6)


@pytest.mark.parametrize("set_s", [-0.2, 0.2, 3600.0])
def test_a_wall_clock_that_was_set_tells_no_window_for_a_file(clocks: Clocks, set_s: float) -> None:
    meter, measurement = metered(clocks, TIMED, set_s)
    with pytest.raises(NoEnergy, match="clock was set while it was measured"):
        meter.windows(measurement, wall=True)
    assert meter.windows(measurement).timed[1] == pytest.approx(MONOTONIC_S + 28.002), "the monotonic clock was not"


def test_a_wall_clock_that_drifts_by_milliseconds_is_believed(clocks: Clocks) -> None:
    meter, measurement = metered(clocks, TIMED, 0.05)
    assert meter.windows(measurement, wall=True).timed[0] == pytest.approx(WALL_S + 16.002, abs=1e-6)


def test_the_environment_has_both_windows_in_utc(clocks: Clocks) -> None:
    meter, measurement = metered(clocks, TIMED)
    said = {reading.name: reading for reading in meter.readings(measurement)}
    # 1_795_000_000 is 11:06:40.
    assert said["energy_idle"].value == "2026-11-18T11:06:40.000+00:00/2026-11-18T11:06:46.000+00:00"
    assert said["energy_window"].value == "2026-11-18T11:06:56.002+00:00/2026-11-18T11:07:08.002+00:00"
    assert said["energy_period_s"].value is None
    assert "wall clock" in str(said["energy_clock"].value)


def test_a_reading_was_taken_in_the_middle_of_the_time_it_took(clocks: Clocks) -> None:
    def slow() -> list[float]:
        clocks.at += 0.2
        return [clocks.at]

    recorder = Recorder(Source(name="slow", tier="counter", read=slow, period_s=60.0))
    recorder.start()
    recorder.stop()
    assert recorder.at_s == pytest.approx([MONOTONIC_S + 0.1, MONOTONIC_S + 0.3])
    assert recorder.series()[""].joules.tolist() == pytest.approx([0.0, 0.2])


def device(idle_w: float, busy_w: float, period_s: float = 0.1) -> Series:
    """Idle until 12 s, at work from then on."""
    at_s = np.arange(0.0, 40.0, period_s)
    return from_power(at_s.tolist(), np.where(at_s < 12.0, idle_w, busy_w).tolist())


def found_in(series: dict[str, Series], job: Any, idle: tuple[float, float] = (0.0, 6.0)) -> dict[str, Scalar]:
    return {each.name: each for each in energies(series, Windows(idle, (16.0, 28.0), "steady"), job)}


def test_joules_watts_and_what_was_drawn_over_idle() -> None:
    """12 s at 50 W over 20 W of idleness: 600 J, 360 of them over idle."""
    found = found_in({"": device(20.0, 50.0)}, make_job())
    values = {name: each.value for name, each in found.items()}
    assert values == {
        "energy_j": pytest.approx(600.0),
        "power_w": pytest.approx(50.0),
        "energy_resolution_j": pytest.approx(5.0),
        "energy_ticks": pytest.approx(119, abs=1),
        "idle_power_w": pytest.approx(20.0),
        "net_energy_j": pytest.approx(360.0),
    }
    phases = {name: each.phase for name, each in found.items()}
    assert phases.pop("idle_power_w") is None
    assert set(phases.values()) == {"steady"}


@pytest.mark.parametrize(("over_w", "known"), [(0.66, False), (0.69, True)])
def test_what_was_drawn_over_idle_must_exceed_what_the_edges_leave_open(over_w: float, known: bool) -> None:
    """The steps at the edges are of 2.07 J (20.7 W for 0.1 s) for 12 s at work, and of 2 J for 4 s of idleness, which
    are 6 J for 12 s: 8.07 J, or 0.67 W.
    """
    found = found_in({"": device(20.0, 20.0 + over_w)}, make_job(), idle=(1.0, 5.0))
    net = found["net_energy_j"]
    assert (net.value is not None) == known
    if known:
        assert net.value == pytest.approx(12 * over_w)
        assert "net_joules_per_query" not in found
    else:
        assert str(net.reason).startswith(f"what was drawn over idle, {12 * over_w:.3g} J, is within the resolution of")
        assert found["net_joules_per_query"].reason == net.reason


def test_idleness_needs_half_as_many_readings_as_a_window() -> None:
    """Half a window's idleness: 12 readings in 6 s are enough, 6 are not."""
    found = found_in({"": device(20.0, 50.0, 0.5)}, make_job(), idle=(0.1, 6.1))
    assert found["idle_power_w"].value == pytest.approx(20.0)
    found = found_in({"": device(20.0, 50.0, 0.5)}, make_job(), idle=(0.1, 3.1))
    assert found["idle_power_w"].value is None
    assert found["net_energy_j"].value is None
    assert "idle power was not measured: the source moved 6 times" in str(found["net_energy_j"].reason)
    assert found["energy_j"].value == pytest.approx(600.0)


def test_parts_have_names_of_their_own_and_one_that_cannot_be_known_costs_no_other() -> None:
    dead = Series(device(1.0, 1.0).at_s, np.zeros(400))
    found = found_in({"package-0": device(2.0, 5.0), "DRAM": dead, "": device(2.0, 5.0)}, make_job())
    assert found["energy_package_0_j"].value == pytest.approx(60.0)
    assert found["energy_dram_j"].value is None
    assert "moved 0 times" in str(found["energy_dram_j"].reason)
    assert found["energy_j"].value == pytest.approx(60.0)


@pytest.mark.parametrize(("new_tokens", "unit"), [(None, "query"), (64, "token")])
def test_what_is_null_is_that_of_a_query_or_a_token(new_tokens: int | None, unit: str) -> None:
    job = make_job(new_tokens=new_tokens)
    assert [(each.name, each.value, each.reason) for each in unmeasured(job, "no counter")] == [
        ("energy_j", None, "no counter"),
        (f"joules_per_{unit}", None, "no counter"),
    ]
    found = found_in({"": device(20.0, 20.0)}, job)
    assert [name for name in found if name.startswith("net_joules")] == [f"net_joules_per_{unit}"]
