"""Times and rates of a model at work: generating, single queries, batches, loading."""

from __future__ import annotations

from dataclasses import replace

from harness.metrics.derivations import executes, load, percentile, prefill_rate, rate, scalar, throughput
from harness.metrics.metric import Metric, PerProcess, Section
from harness.metrics.percentiles import Percentile


def time(name: str, label: str, per_process: PerProcess, *, section: Section = "Latency", main: bool = True) -> Metric:
    """Nanoseconds, less is better, compared as a ratio."""
    return Metric(name, label, "ns", "lower", "ratio", "latency", section, per_process, main)


def percentiles(phase: str, label: str, default: int = 99) -> list[Metric]:
    """The median of a phase and its tail. The percentiles up to `default` can be told from as many queries as are asked
    by default (`harness.scenarios.catalogue`), and always stand in a comparison.
    """
    return [
        tail(f"{phase}_latency_ns_p{q}", f"{label} p{q}", percentile(phase, q / 100), where_known=q > default)
        for q in (50, 90, 99)
    ]


def tail(name: str, label: str, per_process: Percentile, *, where_known: bool) -> Metric:
    """A percentile, which takes enough samples."""
    return replace(time(name, label, per_process), where_known=where_known, too_few=per_process.too_few)


GENERATE = (
    *percentiles("prefill", "prefill latency", 50),
    *percentiles("decode", "decode latency, a token"),
    time("ttft_ns_p50", "time to first token p50", percentile("ttft", 0.5)),
    Metric(
        "decode_tokens_per_s", "decode throughput", "tokens/s", "higher", "ratio", "latency", "Latency", rate("decode")
    ),
    Metric(
        "prefill_tokens_per_s",
        "prefill throughput",
        "tokens/s",
        "higher",
        "ratio",
        "latency",
        "Latency",
        prefill_rate,
        main=False,
    ),
)
QUERIES = (
    *percentiles("steady", "latency", 90),
    Metric("samples_per_s", "throughput", "samples/s", "higher", "ratio", "latency", "Latency", throughput),
    Metric("queries_per_s", "executes", "queries/s", "higher", "ratio", "latency", "Latency", executes),
)
LOADING = (
    time("load_ns", "load time", load, section="Load"),
    time("load_program_ns", "load time, program", scalar("load_program_ns"), section="Load", main=False),
    time("load_method_ns", "load time, method", scalar("load_method_ns"), section="Load", main=False),
    time("first_inference_ns", "first inference", percentile("first", 0.5), section="Load"),
)
