"""From stored rows to one value a process: percentiles and rates of samples, scalars, columns of runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harness.metrics.metric import PerProcess
from harness.metrics.percentiles import Percentile
from harness.store.dataset import Tables


def timed(tables: Tables, phase: str) -> pd.DataFrame:
    """The samples of a phase that have a duration: those of an emulator have only counts."""
    return tables.samples[(tables.samples["phase"] == phase) & tables.samples["duration_ns"].notna()]


def percentile(phase: str, share: float) -> Percentile:
    """Of the durations of a phase: 0.5 for p50."""
    return Percentile(lambda tables: timed(tables, phase), share)


def rate(phase: str) -> PerProcess:
    """Events a second of the time spent in them."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = timed(tables, phase)
        groups = rows.groupby("attempt_id", observed=True)["duration_ns"]
        return groups.count() * 1e9 / groups.sum()

    return per_process


def instructions(phase: str) -> PerProcess:
    """Their mean: counts add up, and at one thread they are exact."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.samples[tables.samples["phase"] == phase].dropna(subset="instructions")
        return rows.groupby("attempt_id", observed=True)["instructions"].mean()

    return per_process


def sampling(tables: Tables) -> pd.Series[float]:
    """What a query takes besides executing the model, a token: choosing it from the logits, and making the inputs of
    the next.
    """
    durations = {
        phase: timed(tables, phase).groupby("attempt_id", observed=True)["duration_ns"]
        for phase in ("generate", "prefill", "decode")
    }
    executed = durations["prefill"].sum().add(durations["decode"].sum(), fill_value=0)
    tokens = durations["prefill"].count().add(durations["decode"].count(), fill_value=0)
    chosen: pd.Series[float] = pd.Series((durations["generate"].sum() - executed) / tokens, dtype="float64").dropna()
    return chosen


def prefill_rate(tables: Tables) -> pd.Series[float]:
    tokens = tables.runs.set_index("attempt_id")["prompt_tokens"]
    return (rate("prefill")(tables) * tokens).dropna()


def throughput(tables: Tables) -> pd.Series[float]:
    """Samples a second over the whole stretch, gaps between batches included (MLPerf's offline); absent where it is not
    known how many samples an execute is.
    """
    return (_executes(tables) * tables.runs.set_index("attempt_id")["batch"]).dropna()


def executes(tables: Tables) -> pd.Series[float]:
    """Executes a second over the whole stretch, of processes where it is not known how many samples one is."""
    batch = tables.runs.set_index("attempt_id")["batch"]
    rates = _executes(tables)
    return rates[batch.reindex(rates.index).isna()]


def _executes(tables: Tables) -> pd.Series[float]:
    rows = timed(tables, "batch")
    ends = rows["start_ns"] + rows["duration_ns"]
    groups = rows.assign(end_ns=ends).groupby("attempt_id", observed=True)
    return groups.size() / ((groups["end_ns"].max() - groups["start_ns"].min()) / 1e9)


def scalar(name: str, phase: str | None = None) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.scalars[tables.scalars["name"] == name]
        if rows.empty:  # of most names, and a comparison asks for every one
            return pd.Series(dtype="float64")
        rows = rows[rows["phase"].isna()] if phase is None else rows[rows["phase"] == phase]
        return rows.dropna(subset="value").set_index("attempt_id")["value"]

    return per_process


def run(column: str) -> PerProcess:
    def per_process(tables: Tables) -> pd.Series[float]:
        return tables.runs.set_index("attempt_id")[column].dropna().astype("float64")

    return per_process


def peak_over_idle(tables: Tables) -> pd.Series[float]:
    """The highest peak of any phase from loading on, less what the process held before it loaded the model."""
    peaks = tables.scalars[(tables.scalars["name"] == "peak_rss_bytes") & (tables.scalars["phase"] != "runtime")]
    peak = peaks.dropna(subset="value").groupby("attempt_id", observed=True)["value"].max()
    return (peak - scalar("rss_bytes", "runtime")(tables)).dropna()


def peak_in(phase: str) -> PerProcess:
    """The peak of one phase, less what the process held before it loaded the model."""

    def per_process(tables: Tables) -> pd.Series[float]:
        return (scalar("peak_rss_bytes", phase)(tables) - scalar("rss_bytes", "runtime")(tables)).dropna()

    return per_process


def peak(tables: Tables) -> pd.Series[float]:
    peaks = tables.scalars[tables.scalars["name"] == "peak_rss_bytes"].dropna(subset="value")
    return peaks.groupby("attempt_id", observed=True)["value"].max()


def load(tables: Tables) -> pd.Series[float]:
    return (scalar("load_program_ns")(tables) + scalar("load_method_ns")(tables)).dropna()


def perplexity(tables: Tables) -> pd.Series[float]:
    return scalar("loss_nats")(tables).apply(np.exp)


def bits_per_byte(tables: Tables) -> pd.Series[float]:
    """The loss of the text in bits, a byte of it in UTF-8: comparable whatever a model's tokens are."""
    return (_text_loss_nats(tables) / scalar("predicted_bytes")(tables) / math.log(2)).dropna()


def word_perplexity(tables: Tables) -> pd.Series[float]:
    """The exponential of the loss of the text, a word of it: words are what spaces part, as papers count them."""
    loss_nats = (_text_loss_nats(tables) / scalar("predicted_words")(tables)).dropna()
    return loss_nats.apply(np.exp)


def _text_loss_nats(tables: Tables) -> pd.Series[float]:
    return scalar("loss_nats")(tables) * scalar("predicted_tokens")(tables)


def added_loss(tables: Tables) -> pd.Series[float]:
    return (scalar("loss_nats")(tables) - scalar("whole_loss_nats")(tables)).dropna()


def per_token(name: str) -> PerProcess:
    """A total over all decoded tokens as a mean of one; absent where it is nothing. The reads of each token are a
    sample, even where nothing else is.
    """

    def per_process(tables: Tables) -> pd.Series[float]:
        totals, decoded = scalar(name)(tables), tables.samples[tables.samples["phase"] == "decode_read"]
        return (totals[totals > 0] / decoded.groupby("attempt_id", observed=True).size()).dropna()

    return per_process


def hit_rate(tables: Tables) -> pd.Series[float]:
    hits = scalar("decode_hits")(tables)
    return (hits[hits > 0] / scalar("decode_active_neurons")(tables)).dropna()


def share(name: str, of: str) -> PerProcess:
    """One count of a process as a share of another."""

    def per_process(tables: Tables) -> pd.Series[float]:
        return (scalar(name)(tables) / scalar(of)(tables)).dropna()

    return per_process


def waits(tables: Tables) -> pd.Series[float]:
    """Absent where most tokens found all of their neurons in DRAM."""
    medians = percentile("decode_io", 0.5)(tables)
    return medians[medians > 0]
