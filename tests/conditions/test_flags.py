"""Reasons not to trust a row."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.jobs import make_job

from harness.analysis.flags import sentence
from harness.conditions.flags import flags, range_flags
from harness.conditions.readings import Reading
from harness.measurement import Measurement
from harness.protocol import Hello, Io, Scalar

# A machine on which nothing else happened: ten seconds, of which harness used all that was used.
BEFORE = {
    "frequency_governor": "performance",
    "temperature_celsius": "40.0",
    "cpu_frequency_mhz": "3000",
    "clock_s": "100.000",
    "cpu_busy_s": "50.00",
    "cpu_steal_s": "1.00",
    "harness_cpu_s": "5.00",
}
AFTER = BEFORE | {"clock_s": "110.000", "cpu_busy_s": "60.00", "harness_cpu_s": "15.00"}
PINNED = make_job(cpus=(0,))


def readings(values: dict[str, str | None]) -> list[Reading]:
    return [Reading(name, value, None if value else "cannot be read") for name, value in values.items()]


def flagged(
    before: dict[str, str | None] | None = None,
    after: dict[str, str | None] | None = None,
    job: Any = PINNED,
    *scalars: tuple[str, float],
    io: tuple[Io, ...] = (),
) -> list[str]:
    """The flags of the quiet machine with these changes."""
    measurement = Measurement(io=list(io))
    for name, value in scalars:
        measurement.add(Scalar(name=name, value=value))
    return flags(readings(BEFORE | (before or {})), readings(AFTER | (after or {})), job, measurement)


def test_a_quiet_machine_raises_no_flag() -> None:
    assert flagged() == []


@pytest.mark.parametrize(
    ("after", "flag"),
    [
        ({"frequency_governor": "powersave"}, "governor_not_performance"),
        ({"frequency_governor": None}, "governor_unknown"),
        ({"temperature_celsius": None}, "temperature_unknown"),
        ({"temperature_celsius": "warm"}, "temperature_unknown"),
        ({"cpu_frequency_mhz": None}, "frequency_unknown"),
        ({"cpu_frequency_mhz": "2600"}, "throttled"),
        ({"cpu_busy_s": "61.50"}, "load_high"),
        ({"cpu_steal_s": "1.20"}, "steal"),
    ],
)
def test_each_condition_has_its_flag(after: dict[str, str | None], flag: str) -> None:
    assert flagged(after=after) == [flag]


@pytest.mark.parametrize(
    "after",
    [
        {"cpu_frequency_mhz": "2800"},
        {"cpu_frequency_mhz": "3600"},
        {"cpu_busy_s": "60.90"},
        {"cpu_steal_s": "1.05"},
        {"temperature_celsius": "95.0"},
    ],
)
def test_what_is_within_bounds_is_not_flagged(after: dict[str, str | None]) -> None:
    assert flagged(after=after) == []


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"battery_status": "charging"}, {}, ["charging"]),
        ({}, {"battery_status": "charging"}, ["charging"]),
        ({}, {"battery_status": "discharging"}, []),
        ({}, {"thermal_status": "1"}, ["throttled"]),
        ({}, {"thermal_status": "0"}, []),
        ({"cpu_frequency_limit_mhz": "2000"}, {"cpu_frequency_limit_mhz": "1990"}, ["throttled"]),
        # Where its limit is known, a clock that is low for want of work says nothing.
        (
            {"cpu_frequency_limit_mhz": "2000"},
            {"cpu_frequency_limit_mhz": "2000", "cpu_frequency_mhz": "300"},
            [],
        ),
        ({"temperature_wanted_celsius": "39"}, {}, ["hot_at_start"]),
        ({"temperature_wanted_celsius": "41"}, {"temperature_celsius": "60.0"}, []),
        ({}, {"frequency_governor": "walt", "governor_expected": "walt"}, []),
        ({}, {"governor_expected": "walt"}, ["governor_unexpected"]),
        ({}, {"frequency_governor": None, "governor_expected": "walt"}, ["governor_unknown"]),
    ],
)
def test_what_a_device_and_its_file_say_counts(
    before: dict[str, str | None], after: dict[str, str | None], found: list[str]
) -> None:
    assert flagged(before, after) == found


def test_every_flag_has_its_sentence() -> None:
    for flag in ("charging", "governor_unexpected", "hot_at_start", "throttled"):
        assert sentence(flag) != flag


def test_what_harness_itself_used_is_not_load() -> None:
    assert flagged(after={"cpu_busy_s": "90.00", "harness_cpu_s": "45.00"}) == []


def test_readings_that_are_absent_are_unknown_and_not_fine() -> None:
    assert flags([], [], PINNED, Measurement()) == ["frequency_unknown", "governor_unknown", "temperature_unknown"]


def test_a_clock_that_stood_still_divides_nothing() -> None:
    assert flagged(after={"clock_s": "100.000", "cpu_busy_s": "99.00"}) == []


def test_a_worker_that_was_not_pinned_is_flagged() -> None:
    assert flagged(None, None, make_job()) == ["not_pinned"]


@pytest.mark.parametrize(
    ("threads", "cpus", "device", "quota", "beyond"),
    [
        (1, None, {"cpus": [0]}, None, False),
        (2, None, {"cpus": [0]}, None, True),
        (2, None, {"cpus": [0, 5]}, None, False),
        (3, None, {"cpus": [0, 5]}, None, True),
        # What the worker may use counts, not what was asked for.
        (2, (0, 1), {"cpus": [0]}, None, True),
        (2, (0,), {"cpus": [0, 1]}, None, False),
        (2, (0,), {}, None, True),
        (2, (0,), None, None, True),
        (2, (0, 1), None, None, False),
        # Somebody else's worker says nothing, or rubbish: nobody knows.
        (64, None, {}, None, False),
        (64, None, {"cpus": []}, None, False),
        (64, None, {"cpus": "all"}, None, False),
        (2, None, {"cpus": [0, 1, 2]}, "1.50", True),
        (2, None, {"cpus": [0, 1, 2]}, "2.00", False),
        (1, None, {"cpus": [0, 1, 2]}, "0.50", True),
        (3, None, {"cpus": [0, 1]}, "8.00", True),
        (2, None, None, "1.00", True),
    ],
)
def test_threads_beyond_the_processors_that_may_be_used_are_flagged(
    threads: int, cpus: tuple[int, ...] | None, device: dict[str, Any] | None, quota: str | None, beyond: bool
) -> None:
    measurement = Measurement()
    if device is not None:
        measurement.add(Hello(protocol=1, worker="w", versions={}, device=device))
    read = readings(AFTER | {"cpu_quota_processors": quota, "logical_cpus": "1"})
    found = flags(readings(BEFORE), read, make_job(cpus=cpus, threads=threads), measurement)
    assert ("threads_beyond_cpus" in found) == beyond


@pytest.mark.parametrize(
    ("before", "after", "seen_mhz", "found"),
    [
        ({"throttled_by_power_s": "3.0"}, {"throttled_by_power_s": "3.0"}, None, []),
        ({"throttled_by_power_s": "3.0"}, {"throttled_by_power_s": "3.1"}, None, ["power_capped"]),
        ({"throttled_by_heat_s": "3.0"}, {"throttled_by_heat_s": "3.0"}, None, []),
        ({"throttled_by_heat_s": "3.0"}, {"throttled_by_heat_s": "3.1"}, None, ["throttled"]),
        ({"gpu_processes": "1"}, {"gpu_processes": "0"}, None, ["device_shared"]),
        ({"gpu_processes": "0"}, {"gpu_processes": "1"}, None, ["device_shared"]),
        ({"gpu_processes": "0"}, {"gpu_processes": "0"}, None, []),
        ({}, {"device_clock_wanted_mhz": None}, None, ["clock_not_locked"]),
        ({}, {"device_clock_wanted_mhz": "1410"}, None, []),
        ({}, {"device_clock_wanted_mhz": "1410"}, 1410.0, []),
        ({}, {"device_clock_wanted_mhz": "1410"}, 1395.0, []),
        ({}, {"device_clock_wanted_mhz": "1410"}, 1380.0, ["clock_not_held"]),
        ({}, {"device_clock_wanted_mhz": "1410"}, 1440.0, ["clock_not_held"]),
    ],
)
def test_what_a_gpu_says_counts(
    before: dict[str, str | None], after: dict[str, str | None], seen_mhz: float | None, found: list[str]
) -> None:
    scalars = [("device_clock_mhz", seen_mhz)] if seen_mhz is not None else []
    assert flagged(before, after, PINNED, *scalars) == found


@pytest.mark.parametrize(
    ("tier", "found"),
    [("counter", []), *((tier, [f"energy_{tier}"]) for tier in ("sampled", "external", "estimated"))],
)
def test_the_tier_of_energy_is_known_when_it_was_metered(tier: str, found: list[str]) -> None:
    assert flagged(after={"energy_tier": tier}) == found


@pytest.mark.parametrize(
    ("scalars", "found"),
    [
        ([("out_of_range", 0.0005), ("calibrated_on_text", 1.0)], []),
        ([("out_of_range", 0.002), ("calibrated_on_text", 1.0)], ["out_of_range"]),
        ([("out_of_range", 0.0), ("out_of_range", 0.002)], ["out_of_range"]),
        ([("out_of_range", 0.0005), ("calibrated_on_text", 0.0)], ["calibrated_on_noise"]),
        ([("out_of_range", None)], []),
        ([], []),
    ],
)
def test_what_was_simulated_is_judged_by_its_ranges(scalars: list[tuple[str, float | None]], found: list[str]) -> None:
    measurement = Measurement()
    for name, value in scalars:
        measurement.add(Scalar(name=name, value=value, reason=None if value is not None else "nothing was rounded"))
    assert range_flags(measurement) == found


def test_what_to_do_about_too_many_threads_is_said() -> None:
    assert "`--threads`" in sentence("threads_beyond_cpus")


@pytest.mark.parametrize(
    ("scalar", "found"),
    [
        (("warmup_steady", 0.0), ["not_steady"]),
        (("sums_may_clip", 1.0), ["sums_may_clip"]),
        (("warmup_steady", 1.0), []),
        (("queries", 29.0), ["fewer_samples"]),
        (("queries", 30.0), []),
        (("queries", 0.0), ["fewer_samples"]),
    ],
)
def test_what_the_worker_said_counts(scalar: tuple[str, float], found: list[str]) -> None:
    assert flagged(None, None, PINNED, scalar) == found


def load(read: int | None, asked: int | None = 1000, phase: str = "load") -> Io:
    return Io(phase=phase, asked_bytes=asked, read_bytes=read, major_faults=None)


@pytest.mark.parametrize(
    ("io", "found"),
    [
        ((load(1000),), []),
        ((load(995),), []),
        ((load(900),), ["not_cold"]),
        ((load(0),), ["not_cold"]),
        ((load(None),), ["not_cold"]),
        ((), ["not_cold"]),
        ((load(1000, phase="other"),), ["not_cold"]),
        ((load(1000), load(0)), ["not_cold"]),
    ],
)
def test_a_cold_start_must_have_been_read_from_storage(io: tuple[Io, ...], found: list[str]) -> None:
    assert flagged(None, None, make_job(cpus=(0,), scenario="cold-start"), io=io) == found


def test_only_a_timed_cold_start_must_be_cold() -> None:
    assert flagged(None, None, make_job(cpus=(0,), scenario="cold-start", measure="memory")) == []


def test_flags_are_sorted() -> None:
    found = flagged(after={"cpu_steal_s": "9.00", "frequency_governor": None, "cpu_frequency_mhz": "1"})
    assert found == ["governor_unknown", "steal", "throttled"]
