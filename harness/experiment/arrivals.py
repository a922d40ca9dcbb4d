"""How the load of a scenario is written: rates of arrival, times, and which option belongs to which scenario."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.experiment.plan import parse_sweep
from harness.scenarios.catalogue import SCENARIOS, owner_of

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m|h)", re.ASCII)


def parse_rates(text: str) -> list[float]:
    """Queries per second: `50`, `0.5,1,2`, `10-50:10`, without repetition. Raises UsageError for anything else."""
    rates: list[float] = []
    for part in text.split(","):
        try:
            rates.append(float(part))
        except ValueError:
            rates += map(float, parse_sweep(part))
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise UsageError(f"{text!r} holds a rate at which nothing arrives.", "Write queries per second, such as 50.")
    return list(dict.fromkeys(rates))


def parse_seconds(text: str) -> float:
    """Seconds from `15ms`, `1.5s`, `30m`, `1h`. Raises UsageError for anything else, and for none at all."""
    found = _TIME.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is no time.", "Write it with its unit: 500us, 15ms, 90s, 30m or 1h.")
    return seconds


def load_of(scenario: str | None, given: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Fields of a job from the options `rate`, `latency_bound`, `streams` and `duration`, None where not given: those
    that sweep, with their values, and those that all jobs share.

    Raises UsageError for an option of another scenario, and for a server with neither rate nor bound.
    """
    for name, value in given.items():
        owner = owner_of(name)
        if value is not None and scenario != owner:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"Only --scenario {owner} takes {flag}.", f"Add --scenario {owner}, or leave it out.")
    if scenario == "multi-stream":
        return {"streams": _positive(parse_sweep(given["streams"] or SCENARIOS[scenario].default("streams")))}, {}
    if scenario == "sustained":
        seconds = parse_seconds(given["duration"] or SCENARIOS[scenario].default("duration"))
        return {}, {"min_duration_s": seconds, "max_duration_s": seconds}
    if scenario == "server":
        return _server(given["rate"], given["latency_bound"]), {}
    return {}, {}


def _server(rate: str | None, bound: str | None) -> dict[str, list[Any]]:
    if rate is None and bound is None:
        raise UsageError(
            "A server needs a rate of arrivals, or a bound within which to find the highest.",
            "Give --rate 50, or --latency-bound 15ms, or both.",
        )
    bounds = [] if bound is None else [round(parse_seconds(part) * 1e9) for part in bound.split(",")]
    return {
        "rate_queries_per_s": [None] if rate is None else parse_rates(rate),
        "latency_bound_ns": list(dict.fromkeys(bounds)) or [None],
    }


def _positive(streams: list[int]) -> list[int]:
    if min(streams) < 1:
        raise UsageError("A query has at least one sample.", "Give --streams 1 or more.")
    return streams
