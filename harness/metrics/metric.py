"""What a metric is: a name, a unit, which way is better, and how it is derived from what was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from harness.store.dataset import Tables

if TYPE_CHECKING:
    import pandas as pd

PerProcess = Callable[[Tables], "pd.Series[float]"]
TooFew = Callable[[Tables], Mapping[str, str]]
Unit = Literal[
    "ns", "bytes", "tokens/s", "samples/s", "queries/s", "instructions", "cycles", "bits", "nats", "1", "dB", "J", "W"
]
Measure = Literal["latency", "memory", "energy", "quality"]
Section = Literal["Latency", "Instructions", "Load", "Traffic", "Memory", "Energy", "Size", "Quality", "Simulation"]
SECTIONS: tuple[Section, ...] = get_args(Section)
"""The parts of a table, from top to bottom."""


@dataclass(frozen=True)
class Metric:
    """`per_process` maps tables to a series of values indexed by `attempt_id`; attempts without a value are absent.

    `better` says which direction is good (None: neither). `compare` says how two models are set against each other:
    `ratio` (above 1 is better for the second), `difference` (second minus first, for losses), or not at all.
    `measure` is the pass that yields it, `section` the part of a table it stands in. `main` metrics are in the
    comparison, the others only in the full report; tables for people leave out those that are shown `where_known`
    where no model has a value. `too_few` says of which processes there are too few samples, and what gives enough.
    """

    name: str
    label: str
    unit: Unit
    better: Literal["lower", "higher"] | None
    compare: Literal["ratio", "difference"] | None
    measure: Measure
    section: Section
    per_process: PerProcess
    main: bool = True
    where_known: bool = False
    too_few: TooFew | None = None
