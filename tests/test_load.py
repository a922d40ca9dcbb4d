"""How load is written on the command line, and what cannot be asked."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UsageError
from harness.experiment.arrivals import load_of, parse_rates, parse_seconds

NOTHING: dict[str, Any] = dict.fromkeys(("rate", "latency_bound", "streams", "duration"))


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("50", [50.0]),
        ("0.5,1,2", [0.5, 1.0, 2.0]),
        ("10-50:10", [10.0, 20.0, 30.0, 40.0, 50.0]),
        ("2,1-3", [2.0, 1.0, 3.0]),
        ("1e3", [1000.0]),
    ],
)
def test_rates_are_lists_and_ranges_without_repetition(text: str, rates: list[float]) -> None:
    assert parse_rates(text) == rates


@pytest.mark.parametrize("text", ["", "0", "-5", "nan", "inf", "1,,2", "fast", "5-1", "0-3", "1e999"])
def test_what_is_no_rate_is_one_sentence_and_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rates(text)
    assert caught.value.what.endswith(".")
    assert caught.value.todo.endswith(".")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500us", 5e-4), ("15ms", 0.015), ("1.5s", 1.5), (".5s", 0.5), ("30m", 1800.0), ("2h", 7200.0)],
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "15", "0s", "0.0ms", "-1s", "ms", "1 5s", "1d", "infs", "nans", "1e3s", "٣s"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_seconds(text)


def test_every_scenario_has_its_own_load() -> None:
    assert load_of(None, NOTHING) == load_of("generate", NOTHING) == ({}, {})
    assert load_of("multi-stream", NOTHING) == ({"streams": [8]}, {})
    assert load_of("multi-stream", NOTHING | {"streams": "1-4"}) == ({"streams": [1, 2, 3, 4]}, {})
    assert load_of("sustained", NOTHING) == ({}, {"min_duration_s": 1800.0, "max_duration_s": 1800.0})
    assert load_of("sustained", NOTHING | {"duration": "90s"})[1] == {"min_duration_s": 90.0, "max_duration_s": 90.0}
    assert load_of("server", NOTHING | {"rate": "50,60"})[0] == {
        "rate_queries_per_s": [50.0, 60.0],
        "latency_bound_ns": [None],
    }
    assert load_of("server", NOTHING | {"latency_bound": "15ms,30ms"})[0] == {
        "rate_queries_per_s": [None],
        "latency_bound_ns": [15_000_000, 30_000_000],
    }


@pytest.mark.parametrize(
    ("scenario", "given", "words"),
    [
        ("server", {}, "needs a rate of arrivals, or a bound"),
        (None, {"rate": "50"}, "Only --scenario server takes --rate"),
        ("sustained", {"latency_bound": "15ms"}, "Only --scenario server takes --latency-bound"),
        ("offline", {"streams": "8"}, "Only --scenario multi-stream takes --streams"),
        ("server", {"rate": "5", "duration": "30m"}, "Only --scenario sustained takes --duration"),
        ("multi-stream", {"streams": "0"}, "at least one sample"),
        ("multi-stream", {"streams": "many"}, "no list of numbers"),
        ("server", {"latency_bound": "15"}, "is no time"),
        ("sustained", {"duration": "30"}, "is no time"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(scenario: str | None, given: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_of(scenario, NOTHING | given)
    assert words in caught.value.what
    assert caught.value.todo.endswith(".")
