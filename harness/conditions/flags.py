"""Reasons not to trust a row, found by comparing the readings before and after it with what the worker reported.

A flag is a short stable word; `harness.report` has a sentence for each. An unflagged row was measured on a machine
that was seen to be quiet, not on one that could not be looked at: what cannot be read is flagged too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.conditions.readings import Reading
from harness.flash.io.proof import prove
from harness.job import Job
from harness.measurement import Measurement
from harness.scenarios.catalogue import SCENARIOS

# Seconds of processor per second that others may use before the row is flagged, and the same for the hypervisor.
_OTHERS = 0.10
_STEAL = 0.01
# The clock may not have fallen by more than this fraction from before to after.
_FREQUENCY_DROP = 0.10
# GPUs step their clocks by 15 MHz.
_CLOCK_STEP_MHZ = 15.0
# Share of activations that may lie beyond what calibration has seen.
_CLIPPED = 0.001
# Of the file's bytes, what the kernel must have read from the device for a cold start to be cold.
_COLD = 0.99


def flags(before: Sequence[Reading], after: Sequence[Reading], job: Job, measurement: Measurement) -> list[str]:
    """The flags of one job attempt, sorted. Readings are text with the units of `host.read_host`."""
    then, now = _numbers(before), _numbers(after)
    governor, expected = _text(after, "frequency_governor"), _text(after, "governor_expected")
    checks = {
        "governor_unknown": governor is None,
        "governor_not_performance": governor not in (None, "performance") and expected is None,
        "governor_unexpected": None not in (governor, expected) and governor != expected,
        "temperature_unknown": "temperature_celsius" not in now,
        "frequency_unknown": "cpu_frequency_mhz" not in now,
        "not_pinned": job.cpus is None and _allowed(after, measurement) != 1,
        "threads_beyond_cpus": job.threads > _processors(now, job, measurement),
        "not_steady": measurement.scalar("warmup_steady") == 0.0,
        "fewer_samples": (queries := measurement.scalar("queries")) is not None and queries < job.min_iterations,
        "sums_may_clip": measurement.scalar("sums_may_clip") == 1.0,
        "outside_delegates": measurement.scalar("heavy_outside_delegates") == 1.0,
        "not_cold": job.measure == "latency" and SCENARIOS[job.scenario].cold and not _cold(measurement),
        "not_from_flash": job.window is not None and job.measure == "latency" and not _from_flash(measurement),
        "throttled": _throttled(then, now),
        "hot_at_start": then.get("temperature_celsius", -math.inf) > then.get("temperature_wanted_celsius", math.inf),
        **{f"energy_{tier}": tier == _text(after, "energy_tier") for tier in ("sampled", "external", "estimated")},
        "charging": "charging" in (_text(before, "battery_status"), _text(after, "battery_status")),
        "clock_not_locked": "device_clock_wanted_mhz" in _unknown(after),
        "clock_not_held": _off_clock(now, measurement),
        "power_capped": _grew(then, now, "throttled_by_power_s") > 0,
        "device_shared": max(then.get("gpu_processes", 0.0), now.get("gpu_processes", 0.0)) > 0,
        "load_high": False,
        "steal": False,
    }
    elapsed = now.get("clock_s", 0.0) - then.get("clock_s", 0.0)
    if elapsed > 0:
        checks["load_high"] = _grew(then, now, "cpu_busy_s") - _grew(then, now, "harness_cpu_s") > _OTHERS * elapsed
        checks["steal"] = _grew(then, now, "cpu_steal_s") > _STEAL * elapsed
    return sorted(name for name, raised in checks.items() if raised)


def range_flags(measurement: Measurement) -> list[str]:
    """The flags of a job that was simulated: nothing of a machine, but whether its integers held what they met."""
    clipped = [scalar.value for _, scalar in measurement.scalars if scalar.name == "out_of_range"]
    guessed = [scalar.value for _, scalar in measurement.scalars if scalar.name == "calibrated_on_text"]
    checks = {
        "out_of_range": any(value is not None and value > _CLIPPED for value in clipped),
        "calibrated_on_noise": 0.0 in guessed,
    }
    return sorted(name for name, raised in checks.items() if raised)


def _allowed(readings: Sequence[Reading], measurement: Measurement) -> int | None:
    """How many processors the worker may run on, which whoever started harness may have bound to one; None where nobody
    says.
    """
    cpus = measurement.hello.device.get("cpus") if measurement.hello else None
    if isinstance(cpus, list) and cpus:
        return len(cpus)
    listed = _text(readings, "affinity")
    return None if listed is None else len(listed.split(","))


def _processors(now: dict[str, float], job: Job, measurement: Measurement) -> float:
    """How many processors' worth of time the worker may use: those that it says it may run on (those it was to be
    pinned to where it does not say), and what a quota grants of them. A job is not judged by what nobody knows.
    """
    allowed = measurement.hello.device.get("cpus") if measurement.hello else None
    cpus = allowed if isinstance(allowed, list) and allowed else job.cpus
    return min(len(cpus) if cpus else math.inf, now.get("cpu_quota_processors", math.inf))


def _cold(measurement: Measurement) -> bool:
    reads = [io for io in measurement.io if io.phase == "load"]
    return bool(reads) and all(
        io.read_bytes is not None and io.read_bytes >= _COLD * (io.asked_bytes or 0) for io in reads
    )


def _from_flash(measurement: Measurement) -> bool:
    """Whether the kernel fetched what was asked of flash while tokens were generated."""
    reads = [io for io in measurement.io if io.phase == "generate"]
    return bool(reads) and all(prove(0, io.read_bytes, io.asked_bytes or 0).valid for io in reads)


def _throttled(then: dict[str, float], now: dict[str, float]) -> bool:
    """Whether the device says so, or held its clock back. Where its limit can be read, the clock at this moment means
    nothing: a device that has nothing to do lowers it.
    """
    if now.get("thermal_status", 0.0) > 0:
        return True
    if any(_grew(then, now, counter) > 0 for counter in ("throttle_count", "throttled_by_heat_s")):
        return True
    limit = "cpu_frequency_limit_mhz"
    if limit in then and limit in now:
        return now[limit] < then[limit]
    return _fell(then, now, "cpu_frequency_mhz")


def _off_clock(now: dict[str, float], measurement: Measurement) -> bool:
    """Whether the device, right after the last query, ran at another clock than the one it was locked at."""
    wanted, seen = now.get("device_clock_wanted_mhz"), measurement.scalar("device_clock_mhz")
    return wanted is not None and seen is not None and abs(seen - wanted) > _CLOCK_STEP_MHZ


def _unknown(readings: Sequence[Reading]) -> set[str]:
    """The readings that a device has, and that have no value."""
    return {reading.name for reading in readings if reading.value is None}


def _fell(then: dict[str, float], now: dict[str, float], name: str) -> bool:
    return name in then and name in now and now[name] < (1 - _FREQUENCY_DROP) * then[name]


def _grew(then: dict[str, float], now: dict[str, float], name: str) -> float:
    return now[name] - then[name] if name in then and name in now else 0.0


def _text(readings: Sequence[Reading], name: str) -> str | None:
    return next((reading.value for reading in readings if reading.name == name), None)


def _numbers(readings: Sequence[Reading]) -> dict[str, float]:
    numbers = {}
    for reading in readings:
        try:
            numbers[reading.name] = float(reading.value or "")
        except ValueError:
            continue
    return numbers
