"""Of load that looks like use: a server's rate and latencies, multi-stream, minutes on end, a warm start."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.metrics.derivations import percentile, scalar
from harness.metrics.latency import percentiles, tail, throughputs, time
from harness.metrics.metric import Metric, Phrase
from harness.metrics.percentiles import Percentile
from harness.statistics.change_points import SEGMENT, change_points
from harness.statistics.early_stopping import holds
from harness.store.dataset import Tables
from harness.store.stored_job import read_job

_MINUTE_NS = 60_000_000_000
# A change of level within a process: of the medians of minutes, whose noise is small and correlated.
_MIN_CHANGE, _MAX_P = 0.03, 1e-4


def trials(tables: Tables) -> pd.DataFrame:
    """One row a trial of a server: `attempt_id`, `phase`, `rate` in queries/s, `bound_ns` (NaN without one), `queries`,
    `late`, and whether it `held`.
    """
    rates = tables.scalars[tables.scalars["name"] == "rate_queries_per_s"].dropna(subset=["value", "phase"])
    bounds = {
        run.attempt_id: read_job(run.job_json).latency_bound_ns
        for run in tables.runs[tables.runs["attempt_id"].isin(rates["attempt_id"])].itertuples()
    }
    made = pd.DataFrame(
        {
            "attempt_id": rates["attempt_id"].astype("object"),
            "phase": rates["phase"].astype("object"),
            "rate": rates["value"],
            "bound_ns": rates["attempt_id"].map(bounds).astype("float64"),
        }
    )
    samples = _of(tables, made).merge(made, on=["attempt_id", "phase"])
    late = (samples["duration_ns"] > samples["bound_ns"]).astype("int64")
    counted = late.groupby([samples["attempt_id"], samples["phase"]]).agg(queries="size", late="sum").reset_index()
    made = made.merge(counted, on=["attempt_id", "phase"])
    few_late = holds(made["queries"].to_numpy("int64"), made["late"].to_numpy("int64"))
    return made.assign(held=np.logical_and(few_late, made["bound_ns"].notna()))


def _of(tables: Tables, trial_rows: pd.DataFrame) -> pd.DataFrame:
    """The samples of these attempts, without categories; a store without servers is not looked through."""
    samples = tables.samples if len(trial_rows) else tables.samples.iloc[:0]
    return samples[samples["attempt_id"].isin(trial_rows["attempt_id"])].astype(
        {"attempt_id": "object", "phase": "object"}
    )


def highest_rate(tables: Tables) -> pd.Series[float]:
    """The highest rate whose p99 held the bound, by MLPerf's rule; absent where none did."""
    rows = trials(tables)
    return rows[rows["held"]].groupby("attempt_id")["rate"].max()


def arrivals(tables: Tables) -> pd.DataFrame:
    """The samples of each server, from the scheduled arrival: of the one rate, or of the highest that held."""
    if not (tables.scalars["name"] == "rate_queries_per_s").any():
        return tables.samples.iloc[:0]
    rows = trials(tables)
    rows = rows[(rows["phase"] == "server") | rows["held"]]
    shown = rows.sort_values("rate").groupby("attempt_id").tail(1)[["attempt_id", "phase"]]
    return _of(tables, shown).merge(shown, on=["attempt_id", "phase"])


def minutes(tables: Tables) -> pd.Series[float]:
    """Median latency in ns by attempt and whole minute, counted from 1; of a run shorter than one minute, all of it."""
    rows = tables.samples[tables.samples["phase"] == "sustained"].dropna(subset="duration_ns")
    groups = rows.groupby("attempt_id", observed=True)
    begin = groups["start_ns"].transform("min")
    minute = ((rows["start_ns"] - begin) // _MINUTE_NS + 1).astype("int64")
    last = rows["start_ns"] + rows["duration_ns"]
    whole_minutes = ((last - begin).groupby(rows["attempt_id"], observed=True).transform("max") // _MINUTE_NS).clip(
        lower=1
    )
    rows = rows.assign(attempt_id=rows["attempt_id"].astype("object"), minute=minute)[minute <= whole_minutes]
    return rows.groupby(["attempt_id", "minute"])["duration_ns"].median()


def first_minute(tables: Tables) -> pd.Series[float]:
    return minutes(tables).groupby("attempt_id").first()


def last_minute(tables: Tables) -> pd.Series[float]:
    """Absent where the first minute is the last."""
    groups = minutes(tables).groupby("attempt_id")
    return groups.last()[groups.size() > 1]


def plateau(tables: Tables) -> pd.Series[float]:
    """The level that the medians of minutes ended on: of those after the last change, their geometric mean."""
    return _last_level(tables)["level_ns"]


def time_to_plateau(tables: Tables) -> pd.Series[float]:
    """From the beginning to the last change of level; 0 where it never changed."""
    return _last_level(tables)["began_ns"]


def _last_level(tables: Tables) -> pd.DataFrame:
    """Attempts with minutes enough to see a change."""
    levels = {}
    for attempt, medians in minutes(tables).groupby("attempt_id"):
        if len(medians) >= 2 * SEGMENT:
            changes = change_points(np.asarray(medians, dtype=np.float64), _MAX_P, _MIN_CHANGE)
            began = changes[-1].index if changes else 0
            levels[attempt] = (float(np.exp(np.log(medians.iloc[began:]).mean())), float(began * _MINUTE_NS))
    return pd.DataFrame.from_dict(levels, orient="index", columns=["level_ns", "began_ns"], dtype="float64")


def _warm_load(tables: Tables) -> pd.Series[float]:
    return (scalar("load_program_ns", "warm")(tables) + scalar("load_method_ns", "warm")(tables)).dropna()


LOAD = (
    throughputs(
        "server_queries_per_s",
        "highest rate within the p99 bound",
        "queries/s",
        highest_rate,
        short=True,
        lead=Phrase("holds {} the rate of"),
    ),
    time(
        "server_latency_ns_p50",
        "latency from arrival p50",
        Percentile(arrivals, 0.5),
        median_of="server",
        at_its_rate=True,
        headline=True,
        short=True,
        lead=Phrase("answers {} as fast as"),
    ),
    *(
        tail(
            f"server_latency_ns_p{name}",
            f"latency from arrival p{100 * share:g}",
            Percentile(arrivals, share),
            at_its_rate=True,
            where_known=share > 0.99,
        )
        for name, share in (("90", 0.9), ("99", 0.99), ("999", 0.999))
    ),
    time(
        "server_service_latency_ns_p50",
        "service time p50, without waiting",
        percentile("server_service", 0.5),
        main=False,
        median_of="server_service",
    ),
    *percentiles(
        "multi_stream",
        "latency of a query",
        headline=True,
        short=True,
        lead=Phrase("answers a query {} as fast as"),
    ),
    time("sustained_first_minute_latency_ns_p50", "latency, minute 1 p50", first_minute, short=True),
    time(
        "sustained_last_minute_latency_ns_p50",
        "latency, last minute p50",
        last_minute,
        short=True,
        lead=Phrase("runs, in the last minute, {} as fast as"),
    ),
    time("sustained_plateau_latency_ns_p50", "latency, plateau p50", plateau),
    Metric("time_to_plateau_ns", "time to the plateau", "ns", None, None, "latency", "Latency", time_to_plateau),
)
WARM = (
    time("warm_load_ns", "load time, warm", _warm_load, section="Load"),
    time("warm_first_inference_ns", "first inference, warm", scalar("first_inference_ns", "warm"), section="Load"),
)
