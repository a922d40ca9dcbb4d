"""fio beside the reader of a flash job: reads of the same size, as many at once, by turns (`harness.flash.io.fio`).

After everything was measured, and in the first process of a model alone: fio has to be started a dozen times.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import HarnessError
from harness.flash.io.fio import compare, fio_version
from harness.flash.io.layout import NeuronFile
from harness.flash.io.reader import DIRECT, Kind
from harness.job import Job
from harness.protocol import Scalar
from harness.worker.flash.query import FlashQuery

_ROUNDS, _ROUND_S = 3, 0.2
_SECTOR_BYTES = 512


def peer(job: Job, kind: Kind, file: NeuronFile, query: FlashQuery) -> Iterator[Scalar]:
    """`peer_ratio`, our throughput over that of fio's best engine, or why there is none; with it the size of a read and
    fio's throughput. The size is the mean of what `query` has read for its decoded tokens.
    """
    totals = query.totals()
    why = _why_not(job, kind, totals["decode_flash_reads"])
    if why is not None:
        yield Scalar(name="peer_ratio", value=None, reason=why)
        return
    mean = totals["decode_flash_bytes"] / totals["decode_flash_reads"]
    size = max(1, round(mean / _SECTOR_BYTES)) * _SECTOR_BYTES
    depth, busy_ns = job.depth or 1, sum(query.phases["decode_read"].duration_ns)
    reads = max(4 * depth, round(_ROUND_S * totals["decode_flash_reads"] / busy_ns * 1e9))
    try:
        compared = compare(kind, file.path, size_bytes=size, depth=depth, reads=reads, rounds=_ROUNDS)
    except HarnessError as error:
        yield Scalar(name="peer_ratio", value=None, reason=error.message.rstrip("."))
        return
    if not compared.proof.valid:
        yield Scalar(name="peer_ratio", value=None, reason=compared.proof.reason)
        return
    yield Scalar(name="peer_ratio", value=compared.ratio.value)
    yield Scalar(name="peer_read_bytes", value=size)
    yield Scalar(name="peer_bytes_per_s", value=compared.fio_bytes_per_s.value)


def _why_not(job: Job, kind: Kind, reads: int) -> str | None:
    """Why fio is not asked, if it is not."""
    if not job.peer:
        return "fio was not asked (--no-peer)"
    if job.block:
        return "fio is asked after the first process alone"
    if kind not in DIRECT:
        return f"fio reads past the page cache, and {kind} does not"
    if not reads:
        return "nothing was read"
    return None if fio_version() else "fio is not installed"
