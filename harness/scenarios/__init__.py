"""What is done with a loaded model. A query is asked once and says its durations (`queries`); it is asked back to back
(`closed_loop`), or when queries arrive (`server`).

The clock is a parameter, so that all this is tested without time.
"""

from __future__ import annotations

from harness.scenarios.catalogue import SCENARIOS, Scenario
from harness.scenarios.closed_loop import MINUTE_NS, repeat, sustain, uncollected, warm_up
from harness.scenarios.queries import (
    Clock,
    EveryNth,
    Execute,
    GenerateQuery,
    MultiStreamQuery,
    Query,
    Series,
    SingleQuery,
    Tokens,
)

__all__ = [
    "MINUTE_NS",
    "SCENARIOS",
    "Clock",
    "EveryNth",
    "Execute",
    "GenerateQuery",
    "MultiStreamQuery",
    "Query",
    "Scenario",
    "Series",
    "SingleQuery",
    "Tokens",
    "repeat",
    "sustain",
    "uncollected",
    "warm_up",
]
