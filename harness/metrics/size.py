"""Memory of the worker process, size of the file, bits of the weights."""

from __future__ import annotations

from harness.metrics.derivations import peak, peak_over_idle, run, scalar
from harness.metrics.metric import Measure, Metric, PerProcess, Unit


def _less(name: str, label: str, unit: Unit, measure: Measure, per_process: PerProcess, *, main: bool = True) -> Metric:
    return Metric(name, label, unit, "lower", "ratio", measure, per_process, main)


SIZE = (
    _less("peak_rss_bytes", "peak memory, worker process", "bytes", "memory", peak),
    _less("peak_over_idle_bytes", "peak memory over idle", "bytes", "memory", peak_over_idle),
    _less("planned_bytes", "planned arena", "bytes", "memory", scalar("planned_bytes")),
    _less("model_bytes", "file size", "bytes", "latency", run("model_bytes")),
    _less("parameters", "parameters", "1", "latency", run("parameters"), main=False),
    _less("bits_per_weight", "bits a weight, learned", "bits", "latency", run("bits_per_weight")),
    _less(
        "bits_per_weight_stored", "bits a weight, stored", "bits", "latency", run("bits_per_weight_stored"), main=False
    ),
)
