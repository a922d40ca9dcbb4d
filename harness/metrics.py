"""The catalogue of metrics: name, unit, which way is better, and how each is derived from what was stored.

Nothing here is stored: every figure is computed from the samples, scalars and runs of the store when somebody reads
it. A metric gives one value a process; `harness.statistics` makes a figure and an interval of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from harness.store.dataset import Tables

PerProcess = Callable[[Tables], "pd.Series[float]"]


@dataclass(frozen=True)
class Metric:
    """`per_process` maps tables to a series of values indexed by `attempt_id`; attempts without a value are absent.

    `better` says which direction is good (None: neither). `compare` says how two models are set against each other:
    `ratio` (above 1 is better for the second), `difference` (second minus first, for losses), or not at all.
    `measure` is the pass that yields it. `main` metrics are in the comparison, the others only in the full report.
    """

    name: str
    label: str
    unit: Literal["ns", "bytes", "tokens/s", "samples/s", "bits", "nats", "1", "dB"]
    better: Literal["lower", "higher"] | None
    compare: Literal["ratio", "difference"] | None
    measure: Literal["latency", "memory", "quality"]
    per_process: PerProcess
    main: bool = True


def _quantile(phase: str, q: float) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.samples[tables.samples["phase"] == phase]
        return rows.groupby("attempt_id", observed=True)["duration_ns"].quantile(q)

    return per_process


def _rate(phase: str) -> PerProcess:
    """Events a second of the time spent in them."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.samples[tables.samples["phase"] == phase]
        groups = rows.groupby("attempt_id", observed=True)["duration_ns"]
        return groups.count() * 1e9 / groups.sum()

    return per_process


def _prefill_rate(tables: Tables) -> pd.Series[float]:
    tokens = tables.runs.set_index("attempt_id")["prompt_tokens"]
    return (_rate("prefill")(tables) * tokens).dropna()


def _throughput(tables: Tables) -> pd.Series[float]:
    """Samples a second over the whole stretch, gaps between batches included (MLPerf's offline)."""
    rows = tables.samples[tables.samples["phase"] == "batch"]
    ends = rows["start_ns"] + rows["duration_ns"]
    groups = rows.assign(end_ns=ends).groupby("attempt_id", observed=True)
    seconds = (groups["end_ns"].max() - groups["start_ns"].min()) / 1e9
    batch = tables.runs.set_index("attempt_id")["batch"]
    return (groups.size() * batch / seconds).dropna()


def _scalar(name: str, phase: str | None = None) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.scalars[tables.scalars["name"] == name]
        rows = rows[rows["phase"].isna()] if phase is None else rows[rows["phase"] == phase]
        return rows.dropna(subset="value").set_index("attempt_id")["value"]

    return per_process


def _run(column: str) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        return tables.runs.set_index("attempt_id")[column].dropna().astype("float64")

    return per_process


def _peak_over_idle(tables: Tables) -> pd.Series[float]:
    """The highest peak of any phase from loading on, less what the process held before it loaded the model."""
    peaks = tables.scalars[(tables.scalars["name"] == "peak_rss_bytes") & (tables.scalars["phase"] != "runtime")]
    peak = peaks.dropna(subset="value").groupby("attempt_id", observed=True)["value"].max()
    return (peak - _scalar("rss_bytes", "runtime")(tables)).dropna()


def _peak(tables: Tables) -> pd.Series[float]:
    peaks = tables.scalars[tables.scalars["name"] == "peak_rss_bytes"].dropna(subset="value")
    return peaks.groupby("attempt_id", observed=True)["value"].max()


def _load(tables: Tables) -> pd.Series[float]:
    return (_scalar("load_program_ns")(tables) + _scalar("load_method_ns")(tables)).dropna()


def _perplexity(tables: Tables) -> pd.Series[float]:
    return _scalar("loss_nats")(tables).apply(np.exp)


def _latencies(phase: str, label: str) -> list[Metric]:
    return [
        Metric(
            f"{phase}_latency_ns_p{q}", f"{label} p{q}", "ns", "lower", "ratio", "latency", _quantile(phase, q / 100)
        )
        for q in (50, 90, 99)
    ]


CATALOGUE: tuple[Metric, ...] = (
    *_latencies("prefill", "prefill latency"),
    *_latencies("decode", "decode latency, a token"),
    Metric("ttft_ns_p50", "time to first token p50", "ns", "lower", "ratio", "latency", _quantile("ttft", 0.5)),
    Metric("decode_tokens_per_s", "decode throughput", "tokens/s", "higher", "ratio", "latency", _rate("decode")),
    Metric(
        "prefill_tokens_per_s",
        "prefill throughput",
        "tokens/s",
        "higher",
        "ratio",
        "latency",
        _prefill_rate,
        main=False,
    ),
    *_latencies("steady", "latency"),
    Metric("samples_per_s", "throughput", "samples/s", "higher", "ratio", "latency", _throughput),
    Metric("load_ns", "load time", "ns", "lower", "ratio", "latency", _load),
    Metric(
        "load_program_ns",
        "load time, program",
        "ns",
        "lower",
        "ratio",
        "latency",
        _scalar("load_program_ns"),
        main=False,
    ),
    Metric(
        "load_method_ns", "load time, method", "ns", "lower", "ratio", "latency", _scalar("load_method_ns"), main=False
    ),
    Metric("first_inference_ns", "first inference", "ns", "lower", "ratio", "latency", _quantile("first", 0.5)),
    Metric("peak_rss_bytes", "peak memory, worker process", "bytes", "lower", "ratio", "memory", _peak),
    Metric("peak_over_idle_bytes", "peak memory over idle", "bytes", "lower", "ratio", "memory", _peak_over_idle),
    Metric("planned_bytes", "planned arena", "bytes", "lower", "ratio", "memory", _scalar("planned_bytes")),
    Metric("model_bytes", "file size", "bytes", "lower", "ratio", "latency", _run("model_bytes")),
    Metric("parameters", "parameters", "1", "lower", "ratio", "latency", _run("parameters"), main=False),
    Metric("bits_per_weight", "bits a weight, learned", "bits", "lower", "ratio", "latency", _run("bits_per_weight")),
    Metric(
        "bits_per_weight_stored",
        "bits a weight, stored",
        "bits",
        "lower",
        "ratio",
        "latency",
        _run("bits_per_weight_stored"),
        main=False,
    ),
    Metric("loss_nats", "loss, a token", "nats", "lower", "difference", "quality", _scalar("loss_nats")),
    Metric("perplexity", "perplexity", "1", "lower", "difference", "quality", _perplexity),
    Metric(
        "recorded_loss_nats",
        "loss recorded when made",
        "nats",
        "lower",
        None,
        "latency",
        _run("recorded_loss_nats"),
        main=False,
    ),
    Metric(
        "max_abs_difference",
        "max difference of outputs",
        "1",
        "lower",
        None,
        "quality",
        _scalar("max_abs_difference"),
    ),
    Metric("sqnr_db", "signal to noise of outputs", "dB", "higher", None, "quality", _scalar("sqnr_db")),
    Metric(
        "argmax_agreement",
        "argmax agreement of outputs",
        "1",
        "higher",
        None,
        "quality",
        _scalar("argmax_agreement"),
    ),
)
