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
    unit: Literal["ns", "bytes", "tokens/s", "samples/s", "instructions", "cycles", "bits", "nats", "1", "dB"]
    better: Literal["lower", "higher"] | None
    compare: Literal["ratio", "difference"] | None
    measure: Literal["latency", "memory", "quality"]
    per_process: PerProcess
    main: bool = True


def _timed(tables: Tables, phase: str) -> pd.DataFrame:
    """The samples of a phase that have a duration: those of an emulator have only counts."""
    return tables.samples[(tables.samples["phase"] == phase) & tables.samples["duration_ns"].notna()]


def _quantile(phase: str, q: float) -> PerProcess:
    """A percentile above the median needs more than one sample; an estimate has one."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = _timed(tables, phase)
        groups = rows.groupby("attempt_id", observed=True)["duration_ns"]
        return groups.quantile(q) if q <= 0.5 else groups.quantile(q)[groups.size() > 1]

    return per_process


def _rate(phase: str) -> PerProcess:
    """Events a second of the time spent in them."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = _timed(tables, phase)
        groups = rows.groupby("attempt_id", observed=True)["duration_ns"]
        return groups.count() * 1e9 / groups.sum()

    return per_process


def _instructions(phase: str) -> PerProcess:
    """Their mean: counts add up, and at one thread they are exact."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.samples[tables.samples["phase"] == phase].dropna(subset="instructions")
        return rows.groupby("attempt_id", observed=True)["instructions"].mean()

    return per_process


def _prefill_rate(tables: Tables) -> pd.Series[float]:
    tokens = tables.runs.set_index("attempt_id")["prompt_tokens"]
    return (_rate("prefill")(tables) * tokens).dropna()


def _throughput(tables: Tables) -> pd.Series[float]:
    """Samples a second over the whole stretch, gaps between batches included (MLPerf's offline)."""
    rows = _timed(tables, "batch")
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


def _added_loss(tables: Tables) -> pd.Series[float]:
    return (_scalar("loss_nats")(tables) - _scalar("whole_loss_nats")(tables)).dropna()


def _per_token(name: str) -> PerProcess:
    """A total over all decoded tokens as a mean of one; absent where it is nothing."""

    def per_process(tables: Tables) -> pd.Series[float]:
        totals, decoded = _scalar(name)(tables), tables.samples[tables.samples["phase"] == "decode"]
        return (totals[totals > 0] / decoded.groupby("attempt_id", observed=True).size()).dropna()

    return per_process


def _hit_rate(tables: Tables) -> pd.Series[float]:
    hits = _scalar("decode_hits")(tables)
    return (hits[hits > 0] / _scalar("decode_active_neurons")(tables)).dropna()


def _waits(tables: Tables) -> pd.Series[float]:
    """Absent where most tokens found all of their neurons in DRAM."""
    found = _quantile("decode_io", 0.5)(tables)
    return found[found > 0]


def _latencies(phase: str, label: str) -> list[Metric]:
    return [
        Metric(
            f"{phase}_latency_ns_p{q}", f"{label} p{q}", "ns", "lower", "ratio", "latency", _quantile(phase, q / 100)
        )
        for q in (50, 90, 99)
    ]


# Phases in which instructions are counted, and the classes that a reader may ask for beside their number.
_COUNTED = {"prefill": "prefill", "decode": "decode, a token", "steady": "inference", "batch": "batch"}
_CLASSES = {
    "load_store": "loads and stores",
    "branch": "branches",
    "simd_fp": "SIMD and floating point",
    "fmla_f32": "FMLA, float32",
    "dot_i8": "SDOT and UDOT",
    "mmla_i8": "SMMLA and UMMLA",
}


def _counts() -> list[Metric]:
    def metric(name: str, label: str, per_process: PerProcess, *, main: bool) -> Metric:
        compare: Literal["ratio"] | None = "ratio" if main else None
        return Metric(name, label, "instructions", "lower", compare, "latency", per_process, main)

    found = []
    for phase, label in _COUNTED.items():
        found.append(metric(f"{phase}_instructions", f"{label}, instructions", _instructions(phase), main=True))
        found += [
            metric(
                f"{phase}_instructions_{kind}", f"{label}, {words}", _scalar(f"instructions_{kind}", phase), main=False
            )
            for kind, words in _CLASSES.items()
        ]
    found.append(metric("first_instructions", "first inference, instructions", _instructions("first"), main=True))
    found.append(metric("load_instructions", "load, instructions", _instructions("load"), main=True))
    return found


# What a compiler estimates of a program for a simulated accelerator, and how far its integers are from float32: scalars
# of a phase.
_ESTIMATED = {"prefill": "prefill", "decode": "decode, a token", "steady": "inference"}


def _estimates(phase: str, label: str) -> list[Metric]:
    def metric(
        name: str,
        words: str,
        unit: Literal["ns", "bytes", "cycles", "1", "dB"],
        better: Literal["lower", "higher"] | None = "lower",
        *,
        main: bool = False,
    ) -> Metric:
        compare: Literal["ratio"] | None = "ratio" if unit in ("bytes", "cycles") else None
        return Metric(
            f"{phase}_{name}", f"{label}: {words}", unit, better, compare, "latency", _scalar(name, phase), main
        )

    parts = [(memory, f"{memory}_{figure}", unit) for memory in ("sram", "dram", "flash") for figure, unit in _TRAFFIC]
    return [
        metric("cycles", "cycles, Vela estimate", "cycles", main=True),
        metric("npu_cycles", "of the array, Vela estimate", "cycles", main=True),
        *(
            metric(name, _WORDS[name[len(memory) + 1 :]].format(memory), unit, main=True)
            for memory, name, unit in parts
        ),
        metric("weight_bytes", "weights as int8", "bytes", main=True),
        metric("encoded_weight_bytes", "weights as Vela encodes them", "bytes", main=True),
        metric("mac_utilisation", "array in use, Vela estimate", "1", "higher", main=True),
        metric("macs", "multiplications", "1"),
        metric("roofline_ns", "bound by our roofline", "ns"),
        *(
            metric(f"vela_over_roofline_{kind}", f"Vela over roofline, {kind} operators", "1", None)
            for kind in ("linear", "matmul", "other")
        ),
        metric("tosa_sqnr_db", "int8 against float32, TOSA", "dB", "higher", main=True),
        metric("tosa_argmax_agreement", "argmax agreement of int8 with float32, TOSA", "1", "higher", main=True),
        metric("fake_quant_argmax_agreement", "argmax agreement of fake-quant with TOSA", "1", "higher"),
        metric("fake_quant_within_1_lsb", "fake-quant within 1 LSB of TOSA", "1", "higher", main=True),
        metric("fake_quant_max_lsb", "largest difference of fake-quant from TOSA, LSB", "1"),
        metric("certified_elements", "outputs compared with TOSA", "1", None),
        metric("out_of_range", "activations beyond the calibrated range", "1", main=True),
    ]


_TRAFFIC: tuple[tuple[str, Literal["bytes", "cycles"]], ...] = (
    ("cycles", "cycles"),
    ("traffic_bytes", "bytes"),
    ("used_bytes", "bytes"),
)
_WORDS = {
    "cycles": "of {}, Vela estimate",
    "traffic_bytes": "moved to and from {}, Vela estimate",
    "used_bytes": "held in {}, Vela estimate",
}


# Of a model whose feed-forward weights lie in flash.
_FLASH = (
    Metric("decode_io_ns_p50", "waiting for flash, a token p50", "ns", "lower", "ratio", "latency", _waits),
    Metric(
        "decode_mem_ns_p50",
        "moving in memory, a token p50",
        "ns",
        "lower",
        "ratio",
        "latency",
        _quantile("decode_mem", 0.5),
    ),
    Metric(
        "decode_compute_ns_p50",
        "computing, a token p50",
        "ns",
        "lower",
        "ratio",
        "latency",
        _quantile("decode_compute", 0.5),
    ),
    Metric(
        "flash_bytes_per_token",
        "flash to DRAM, a token",
        "bytes",
        "lower",
        "ratio",
        "latency",
        _per_token("decode_flash_bytes"),
    ),
    Metric(
        "flash_reads_per_token", "reads, a token", "1", "lower", "ratio", "latency", _per_token("decode_flash_reads")
    ),
    Metric("flash_hit_rate", "active neurons in DRAM", "1", "higher", None, "latency", _hit_rate),
    Metric("dram_bytes", "DRAM, neurons and the rest", "bytes", "lower", "ratio", "memory", _scalar("dram_bytes")),
    Metric("token_agreement", "tokens of the whole model", "1", "higher", None, "latency", _scalar("token_agreement")),
    Metric("added_loss_nats", "loss by neurons missed", "nats", "lower", None, "quality", _added_loss),
)

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
    *_FLASH,
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
    *_counts(),
    *(metric for phase, label in _ESTIMATED.items() for metric in _estimates(phase, label)),
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
    Metric(
        "max_abs_difference_x86",
        "max difference from x86",
        "1",
        "lower",
        None,
        "quality",
        _scalar("max_abs_difference_x86"),
    ),
    Metric(
        "argmax_agreement_x86",
        "argmax agreement with x86",
        "1",
        "higher",
        None,
        "quality",
        _scalar("argmax_agreement_x86"),
    ),
)
