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

__all__ = ["CATALOGUE", "HEADLINES", "METRICS", "SECTIONS", "Metric", "PerProcess", "Section"]

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

METRICS: dict[str, Metric] = {metric.name: metric for metric in CATALOGUE}
"""The catalogue by name."""

HEADLINES: tuple[Metric, ...] = tuple(metric for metric in CATALOGUE if metric.headline)
"""The main cost of a table: the first of these that it has. Where it is a time, it decides how many blocks `--resolve`
adds.
"""
