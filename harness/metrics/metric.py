"""What a metric is: a name, a unit, which way is better, and how it is derived from what was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

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
Exactness = Literal["file", "repeats", "varies"]
_OF_TIME = ("ns", "tokens/s", "samples/s", "queries/s")
_WORDS = {"speedup": "speed-up", "ratio": "reduction", "difference": "difference"}


@dataclass(frozen=True)
class Recorded:
    """What a manifest says of a metric that was not measured: `value` of a row of `runs`, None where it says nothing.
    `alone`: the metric is in a table even where nobody measured it.
    """

    value: Callable[[Mapping[str, Any]], float | None]
    alone: bool = False


@dataclass(frozen=True)
class Phrase:
    """What a verdict says of a comparison by a metric, with {} for how many times, or for a difference. `worse` where
    the model is worse than the baseline, and the factor then that of the baseline; None: as `better`.
    """

    better: str
    worse: str | None = None


@dataclass(frozen=True)
class Metric:
    """`per_process` maps tables to a series of values indexed by `attempt_id`; attempts without a value are absent.

    `better` says which direction is good (None: neither). `compare` says how two models are set against each other:
    `ratio` (above 1 is better for the second), `difference` (second minus first, for losses), or not at all.
    `measure` is the pass that yields it, `section` the part of a table it is in. `main` metrics are in the
    comparison, the others only in the full report; tables for people leave out those that are shown `where_known`
    where no model has a value. `too_few` says of which processes there are too few samples, and what gives enough.

    `exactness` says how values of several processes are related: they are a fact of the `file`, whatever became of
    the process; or one fact that `repeats` in every process, such as a count or a loss; or a quantity that `varies`.
    `any_pass`: every process that succeeded says it, whatever its pass. `sources` are the scalars that it is made of
    besides the one of its name: they have the reason for a missing value. `recorded` is what a manifest says.

    `headline`: a table's main cost, the first of these that it has. `short`: in a short table. `watched`: by nightly
    runs that name no metrics. `paper` is how a table for a paper shows it that names no columns. `median_of` is the
    phase whose median duration it is. `at_its_rate`: it is of queries as they arrive, and no comparison at two rates. A
    model whose figure is below `lowest` computes something else than the reference. A verdict begins with the `lead` of
    the first metric that two models are compared by, and the baseline's name, and adds the `aside` of all others.
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
    exactness: Exactness = "varies"
    any_pass: bool = False
    sources: tuple[str, ...] = ()
    recorded: Recorded | None = None
    headline: bool = False
    short: bool = False
    watched: bool = False
    paper: Literal["value", "both"] | None = None
    median_of: str | None = None
    at_its_rate: bool = False
    lowest: float | None = None
    lead: Phrase | None = None
    aside: Phrase | None = None

    @property
    def is_time(self) -> bool:
        """Whether it is made of durations, so that it is only as real as the target's latency."""
        return self.unit in _OF_TIME

    @property
    def comparison(self) -> Literal["speedup", "ratio", "difference"]:
        """What setting two models against each other by it is called."""
        if self.compare == "difference":
            return "difference"
        return "speedup" if self.is_time else "ratio"

    @property
    def comparison_word(self) -> str:
        """The heading of what sets two models against each other by it."""
        return _WORDS[self.comparison]
