"""Times and rates of a model at work: generating, single queries, batches, loading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.metrics.derivations import executes, load, percentile, prefill_rate, rate, sampling, scalar, throughput
from harness.metrics.metric import Metric, PerProcess, Phrase, Section, Unit
from harness.metrics.percentiles import Percentile


def time(
    name: str, label: str, per_process: PerProcess, *, section: Section = "Latency", main: bool = True, **facts: Any
) -> Metric:
    """Nanoseconds, less is better, compared as a ratio; `facts` are further fields of the metric."""
    return Metric(name, label, "ns", "lower", "ratio", "latency", section, per_process, main, **facts)


def throughputs(
    name: str, label: str, unit: Unit, per_process: PerProcess, *, main: bool = True, **facts: Any
) -> Metric:
    """Work a second, more is better, compared as a ratio."""
    return Metric(name, label, unit, "higher", "ratio", "latency", "Latency", per_process, main, **facts)


def percentiles(phase: str, label: str, default: int = 99, **facts: Any) -> list[Metric]:
    """The median of a phase, with these `facts`, and its tail. The percentiles up to `default` are known from as many
    queries as are asked by default (`harness.scenarios.catalogue`), and always stand in a comparison.
    """
    median, *others = (
        tail(f"{phase}_latency_ns_p{q}", f"{label} p{q}", percentile(phase, q / 100), where_known=q > default)
        for q in (50, 90, 99)
    )
    return [replace(median, median_of=phase, **facts), *others]


def tail(name: str, label: str, per_process: Percentile, **facts: Any) -> Metric:
    """A percentile, which takes enough samples."""
    return replace(time(name, label, per_process, **facts), too_few=per_process.too_few)


_MAIN: dict[str, Any] = {"headline": True, "short": True, "watched": True, "paper": "both"}

GENERATE = (
    *percentiles("prefill", "prefill latency", 50, short=True, watched=True),
    *percentiles("decode", "decode latency per token", lead=Phrase("decodes {} as fast as"), **_MAIN),
    tail("decode_latency_ns_p999", "decode latency per token p99.9", percentile("decode", 0.999), main=False),
    time("sampling_ns_per_token", "choosing a token, apart from execution", sampling, main=False),
    time("ttft_ns_p50", "time to first token p50", percentile("ttft", 0.5), median_of="ttft", watched=True),
    throughputs("decode_tokens_per_s", "decode throughput", "tokens/s", rate("decode")),
    throughputs("prefill_tokens_per_s", "prefill throughput", "tokens/s", prefill_rate, main=False),
)
QUERIES = (
    *percentiles("steady", "latency", 90, lead=Phrase("runs {} as fast as"), **_MAIN),
    throughputs(
        "samples_per_s",
        "throughput",
        "samples/s",
        throughput,
        lead=Phrase("processes {} as many samples per second as"),
        **_MAIN,
    ),
    throughputs(
        "queries_per_s",
        "executions",
        "queries/s",
        executes,
        headline=True,
        short=True,
        lead=Phrase("executes {} as often per second as"),
    ),
)
LOADING = (
    time("load_ns", "load time", load, section="Load", sources=("load_program_ns", "load_method_ns")),
    time("load_program_ns", "load time, program", scalar("load_program_ns"), section="Load", main=False),
    time("load_method_ns", "load time, method", scalar("load_method_ns"), section="Load", main=False),
    time(
        "first_inference_ns",
        "first inference",
        percentile("first", 0.5),
        section="Load",
        headline=True,
        lead=Phrase("runs its first inference {} as fast as"),
    ),
)
