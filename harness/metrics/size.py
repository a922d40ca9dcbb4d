"""Memory of the worker process, size of the file, bits of the weights."""

from __future__ import annotations

from typing import Any

from harness.metrics.derivations import peak, peak_in, peak_over_idle, run, scalar
from harness.metrics.metric import Metric, PerProcess, Phrase, Unit


def _memory(name: str, label: str, per_process: PerProcess, **facts: Any) -> Metric:
    return Metric(name, label, "bytes", "lower", "ratio", "memory", "Memory", per_process, **facts)


def _file(name: str, label: str, unit: Unit, **facts: Any) -> Metric:
    """A column of every run, whatever its pass."""
    return Metric(name, label, unit, "lower", "ratio", "latency", "Size", run(name), exactness="file", **facts)


SIZE = (
    _memory("peak_rss_bytes", "peak memory, worker process", peak),
    _memory(
        "peak_over_idle_bytes",
        "peak memory over idle",
        peak_over_idle,
        sources=("peak_rss_bytes", "rss_bytes"),
        short=True,
        paper="value",
    ),
    *(
        _memory(
            f"{phase}_over_idle_bytes",
            f"peak memory over idle, {label}",
            peak_in(phase),
            main=False,
            sources=("peak_rss_bytes", "rss_bytes"),
        )
        for phase, label in (("load", "loading"), ("first", "first inference"), ("steady", "after it"))
    ),
    _memory(
        "cache_bytes",
        "KV cache",
        scalar("cache_bytes"),
        exactness="repeats",
        any_pass=True,
        where_known=True,
        main=False,
    ),
    _memory("planned_bytes", "planned arena", scalar("planned_bytes"), exactness="repeats", any_pass=True),
    _file(
        "model_bytes",
        "file size",
        "bytes",
        short=True,
        watched=True,
        paper="both",
        aside=Phrase("file {} smaller", "file {} larger"),
    ),
    _file("parameters", "parameters", "1", main=False),
    _file("bits_per_weight", "bits per weight, learned", "bits"),
    _file("bits_per_weight_stored", "bits per weight, stored", "bits", main=False),
    _file("weights_bytes", "weights at rest", "bytes", main=False),
)
