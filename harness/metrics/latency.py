"""Times and rates of a model at work: generating, single queries, batches, loading."""

from __future__ import annotations

from harness.metrics.derivations import load, prefill_rate, quantile, rate, scalar, throughput
from harness.metrics.metric import Metric, PerProcess, Section


def time(name: str, label: str, per_process: PerProcess, *, section: Section = "Latency", main: bool = True) -> Metric:
    """Nanoseconds, less is better, compared as a ratio."""
    return Metric(name, label, "ns", "lower", "ratio", "latency", section, per_process, main)


def percentiles(phase: str, label: str) -> list[Metric]:
    """The median of a phase and its tail."""
    return [time(f"{phase}_latency_ns_p{q}", f"{label} p{q}", quantile(phase, q / 100)) for q in (50, 90, 99)]


GENERATE = (
    *percentiles("prefill", "prefill latency"),
    *percentiles("decode", "decode latency, a token"),
    time("ttft_ns_p50", "time to first token p50", quantile("ttft", 0.5)),
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
    *percentiles("steady", "latency"),
    Metric("samples_per_s", "throughput", "samples/s", "higher", "ratio", "latency", "Latency", throughput),
)
LOADING = (
    time("load_ns", "load time", load, section="Load"),
    time("load_program_ns", "load time, program", scalar("load_program_ns"), section="Load", main=False),
    time("load_method_ns", "load time, method", scalar("load_method_ns"), section="Load", main=False),
    time("first_inference_ns", "first inference", quantile("first", 0.5), section="Load"),
)
