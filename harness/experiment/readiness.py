"""Whether a target can measure now: what a run would flag, seen before it, with what to do about each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.analysis.flags import advice, meaning
from harness.conditions.flags import flags
from harness.conditions.readings import Reading
from harness.job import Job
from harness.measurement import Measurement
from harness.runtime import availability, find_runtime
from harness.target import Target

State = Literal["ok", "warning", "problem", "unknown"]
WATCHED_S = 2.0
"""Seconds for which load and stolen time are watched."""
_LEAST_MEMORY_BYTES, _LEAST_DISK_BYTES = 1e9, 1e9
# What each check looks at: its name in the table, the flags that it may raise, and the reading that it shows.
_CHECKS: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("governor", ("governor_unknown", "governor_not_performance", "governor_unexpected"), "frequency_governor"),
    ("clock", ("frequency_unknown", "throttled", "clock_not_locked", "clock_not_held", "power_capped"), None),
    ("temperature", ("temperature_unknown", "hot_at_start"), "temperature_celsius"),
    ("other load", ("load_high", "device_shared"), "load_average_1min"),
    ("stolen time", ("steal",), None),
    ("pinning", ("not_pinned",), "affinity"),
    ("battery", ("charging",), "battery_status"),
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `value` is what it showed, None where there is nothing to show; `what` and `todo`
    are sentences where it is not as it should be.
    """

    name: str
    state: State
    value: str | None = None
    what: str | None = None
    todo: str | None = None


def examine(target: Target, results: Path, sleep: Callable[[float], None] = time.sleep) -> list[Check]:
    """Every check of a target and of the folder for results. Takes two seconds; starts no worker and writes nothing."""
    availability = target.availability()
    if not availability.available:
        return [
            Check("target", "problem", target.name, f"it is not available: {availability.reason}", availability.todo)
        ]
    checks, readings = [Check("target", "ok", target.name)], target.environment()
    if target.capabilities.latency == "measured":
        before = readings
        sleep(WATCHED_S)
        readings = target.environment()
        checks += condition_checks(target, before, readings)
    else:
        why = f"{target.name} measures no time of this machine, so its load and clock do not matter"
        checks.append(Check("conditions", "ok", None, why))
    return [*checks, *memory_check(readings), disk_check(results), *runtime_checks(target)]


def condition_checks(target: Target, before: Sequence[Reading], after: Sequence[Reading]) -> list[Check]:
    """What two readings of the environment say: the flags that a job between them would have."""
    job = Job(target=target.name, model="", model_sha256="", scenario="single-stream")
    raised = set(flags(before, after, job, Measurement()))
    values = {reading.name: reading.value for reading in after}
    checks = []
    for name, about, shown in _CHECKS:
        if name == "pinning" and not target.capabilities.pinning:
            continue
        value = values.get(shown) if shown is not None else None
        raised_flags = [flag for flag in about if flag in raised]
        if not raised_flags and (value is not None or shown is None or name == "other load"):
            checks.append(Check(name, "ok", value))
        for flag in raised_flags:
            state: State = "unknown" if flag.endswith("_unknown") else "warning"
            checks.append(Check(name, state, value, meaning(flag), advice(flag)))
    return checks


def runtime_checks(target: Target) -> list[Check]:
    """The runtimes that load models on a target, and what to install for those that are not available."""
    states = {name: availability(find_runtime(name)) for name in target.capabilities.runtimes}
    if not states:
        return []
    usable = ", ".join(name for name, state in states.items() if state.available)
    missing = {name: state for name, state in states.items() if not state.available}
    return [
        Check("runtimes", "ok" if usable else "problem", usable or None),
        *(Check(f"runtime {name}", "unknown", None, state.reason, state.todo) for name, state in missing.items()),
    ]


def memory_check(readings: Sequence[Reading]) -> list[Check]:
    """Free memory of the device; nothing where the device does not say."""
    text = next((reading.value for reading in readings if reading.name == "memory_available_bytes"), None)
    if text is None:
        return []
    free = f"{float(text) / 1e9:.1f} GB free"
    if float(text) >= _LEAST_MEMORY_BYTES:
        return [Check("memory", "ok", free)]
    return [Check("memory", "warning", free, "a model that does not fit fails, or is swapped", "close other programs")]


def disk_check(results: Path) -> Check:
    """Free space where the results go."""
    folder = next(path for path in (results.absolute(), *results.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(folder).free
    free = f"{free_bytes / 1e9:.1f} GB free"
    if free_bytes >= _LEAST_DISK_BYTES:
        return Check("disk", "ok", free)
    return Check("disk", "warning", free, f"{folder} is nearly full", "free space, or name another folder: --results")
