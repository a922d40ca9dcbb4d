"""What the ablation of a trace would cost on a device of which only the limits are known: estimates, all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.flash.ablation.policies import POLICIES, Demand, demands
from harness.flash.ablation.trace import Trace, require_window
from harness.flash.device_model.throughput import Limits, batch_ns
from harness.flash.io.sequential import PIECE_BYTES


@dataclass(frozen=True)
class Projection:
    """Of a policy, means a token over the tokens after the first window: `flash_bytes`, `reads` scattered in flash, and
    `io_ns` by the model.
    """

    policy: str
    flash_bytes: float
    reads: float
    io_ns: float

    @property
    def bytes_per_s(self) -> float:
        """Throughput by the model; NaN where nothing is read."""
        return self.flash_bytes / self.io_ns * 1e9 if self.io_ns else np.nan


def project(
    limits: Limits, trace: Trace, window: int, depth: int, row_bytes: int, rest_bytes: int = 0
) -> list[Projection]:
    """Each policy that asks something of its own of flash; a pipeline hides I/O but asks for the same.

    `row_bytes` as in the file, `rest_bytes` of attention and all else, `depth` reads at once. Raises UsageError for a
    window of 0 or one as long as the trace.
    """
    require_window(window, len(trace.active))
    projections = []
    for policy in POLICIES:
        if policy.pipeline:
            continue
        tokens = list(demands(policy, trace, window, row_bytes, rest_bytes))[window:]
        times = [_io_ns(limits, demand, depth) for demand in tokens]
        size, reads = (np.mean([(demand.bytes, demand.reads) for demand in tokens], axis=0)).tolist()
        projections.append(Projection(policy.name, size, reads, float(np.mean(times))))
    return projections


def sizes(row_bytes: int) -> list[int]:
    """Bytes of the reads that a projection supposes, for `Profile.doubts`."""
    return [row_bytes, 2 * row_bytes, PIECE_BYTES]


def _io_ns(limits: Limits, demand: Demand, depth: int) -> float:
    """Each layer's scattered reads are waited for before the next layer's are known."""
    large = np.full(-(-demand.sequential_bytes // PIECE_BYTES), PIECE_BYTES, np.int64)
    if demand.sequential_bytes % PIECE_BYTES:
        large[-1] = demand.sequential_bytes % PIECE_BYTES
    layers = (np.full(reads, demand.read_bytes, np.int64) for reads in demand.layer_reads)
    return batch_ns(limits, large, depth) + sum(batch_ns(limits, reads, depth) for reads in layers)
