"""The catalogue of metrics: name, unit, which way is better, and how each is derived from what was stored.

Nothing here is stored: every figure is computed from the samples, scalars and runs of the store when somebody reads
it. A metric gives one value a process; `harness.statistics` makes a figure and an interval of them. The order is that
of a comparison's rows.
"""

from __future__ import annotations

from harness.metrics.counts import COUNTS
from harness.metrics.device import DEVICE_MEMORY, DEVICE_TIME
from harness.metrics.energy import ENERGY
from harness.metrics.estimates import ESTIMATES
from harness.metrics.flash import FLASH
from harness.metrics.latency import GENERATE, LOADING, QUERIES
from harness.metrics.load import LOAD, WARM
from harness.metrics.metric import SECTIONS, Metric, PerProcess, Section
from harness.metrics.quality import QUALITY
from harness.metrics.size import SIZE

__all__ = ["CATALOGUE", "HEADLINES", "SECTIONS", "Metric", "PerProcess", "Section"]

CATALOGUE: tuple[Metric, ...] = (
    *GENERATE,
    *FLASH,
    *QUERIES,
    *DEVICE_TIME,
    *LOAD,
    *LOADING,
    *WARM,
    *COUNTS,
    *ESTIMATES,
    *ENERGY,
    *DEVICE_MEMORY,
    *SIZE,
    *QUALITY,
)

HEADLINES: tuple[str, ...] = (
    "decode_latency_ns_p50",
    "steady_latency_ns_p50",
    "multi_stream_latency_ns_p50",
    "samples_per_s",
    "queries_per_s",
    "server_latency_ns_p50",
    "first_inference_ns",
)
"""The main time of a table: the first of these that it has. It decides how many blocks `--resolve` adds."""
