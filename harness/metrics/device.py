"""Of a device that is not the processor: its own time of each call, and its memory."""

from __future__ import annotations

import pandas as pd

from harness.metrics.derivations import percentile
from harness.metrics.latency import time
from harness.metrics.metric import Metric, PerProcess
from harness.store.dataset import Tables

# The phases whose calls a device times, and what they are.
_TIMED = {
    "prefill": "prefill, on the device",
    "decode": "decode per token, on the device",
    "steady": "inference, on the device",
    "batch": "batch, on the device",
}


def _largest(name: str) -> PerProcess:
    """The peak of a process is the greatest of its phases'."""

    def per_process(tables: Tables) -> pd.Series[float]:
        rows = tables.scalars[tables.scalars["name"] == name].dropna(subset="value")
        return rows.groupby("attempt_id", observed=True)["value"].max()

    return per_process


DEVICE_TIME = tuple(
    time(f"{phase}_device_ns_p50", f"{label} p50", percentile(f"{phase}_device", 0.5), median_of=f"{phase}_device")
    for phase, label in _TIMED.items()
)
DEVICE_MEMORY = tuple(
    Metric(name, label, "bytes", "lower", "ratio", "memory", "Memory", _largest(name))
    for name, label in (
        ("peak_allocated_bytes", "peak memory, allocated on the device"),
        ("peak_reserved_bytes", "peak memory, reserved on the device"),
        ("device_bytes", "memory of the device in use, by all"),
    )
)
