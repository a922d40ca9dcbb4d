"""Joules of a token or a query and the watts behind them, from a pass that is long enough for its source.

All that was drawn while queries were asked belongs to them, the prompt's part included: a token's energy is that of the
whole answer over its new tokens, as in tokens a joule. Net of idle: less what the device draws when nobody asks.
"""

from __future__ import annotations

import pandas as pd

from harness.metrics.metric import Metric, PerProcess, Unit
from harness.store.dataset import Tables

# Phases whose samples are whole answers of a language model; an answer has one token more than it has decode steps.
_ANSWERS = "generate"


def _rows(tables: Tables, name: str) -> pd.DataFrame:
    """The values of a scalar by attempt, with its phase."""
    rows = tables.scalars[tables.scalars["name"] == name].dropna(subset="value")
    return rows.set_index("attempt_id")[["phase", "value"]]


def _value(name: str) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        return _rows(tables, name)["value"]

    return per_process


def _counts(tables: Tables, *phases: str) -> pd.Series[int]:
    """Samples of these phases by attempt."""
    rows = tables.samples[tables.samples["phase"].isin(phases)]
    return rows.groupby("attempt_id", observed=True).size()


def _per_token(name: str) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        values = _rows(tables, name)
        answers = values[values["phase"] == _ANSWERS]["value"]
        return (answers / _counts(tables, _ANSWERS, "decode")).dropna()

    return per_process


def _per_query(name: str) -> PerProcess:
    """A query is one of the samples that stand for the whole: of a batch, all that it holds."""

    def per_process(tables: Tables) -> pd.Series[float]:
        values = _rows(tables, name)
        values = values[values["phase"] != _ANSWERS]
        sizes = tables.samples.groupby(["attempt_id", "phase"], observed=True).size().to_dict()
        counts = [sizes.get(key, 0) for key in zip(values.index, values["phase"], strict=True)]
        return (values["value"] / pd.Series(counts, values.index, dtype="float64")).dropna()

    return per_process


def _cost(name: str, label: str, per_process: PerProcess, *, short: bool = False) -> Metric:
    """Joules of a piece of work: less is better."""
    return Metric(name, label, "J", "lower", "ratio", "energy", "Energy", per_process, short=short)


def _beside(name: str, label: str, unit: Unit, *, main: bool = True) -> Metric:
    """What a reader needs to judge them. More power is not worse, if the work is done sooner."""
    return Metric(name, label, unit, None, None, "energy", "Energy", _value(name), main)


ENERGY = (
    _cost("joules_per_token", "energy per token", _per_token("energy_j"), short=True),
    _cost("joules_per_query", "energy per query", _per_query("energy_j"), short=True),
    _cost("net_joules_per_token", "energy over idle per token", _per_token("net_energy_j")),
    _cost("net_joules_per_query", "energy over idle per query", _per_query("net_energy_j")),
    _beside("power_w", "power", "W"),
    _beside("idle_power_w", "power when idle", "W"),
    _beside("energy_j", "energy of the timed window", "J", main=False),
    _beside("energy_resolution_j", "resolution of that energy", "J", main=False),
)
