"""The same reads by fio (github.com/axboe/fio), the storage benchmark that others trust, in alternated rounds with
ours.

fio knows several engines, and which is best depends on the machine and its load; ours is compared with the best. That
one is chosen in rounds of its own: the best of three noisy figures is better than it deserves in the rounds that made
it so. fio reads into as many buffers as reads are in flight, which stay in the processor's caches, so ours is given an
arena of as many: with twice that io_uring reached 0.91 of fio instead of 0.93, with eight times 0.85 (41 rounds).
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError, UsageError
from harness.flash.io.arena import Arena
from harness.flash.io.proof import Proof, prove
from harness.flash.io.reader import Kind, Reader, open_reader
from harness.statistics.ratio import Ratio, paired_ratio
from harness.statistics.summary import Estimate, log_mean
from harness.storage_reads import fetched_bytes

ENGINES = ("io_uring", "libaio", "psync")
_LIMIT_S = 300
_TRIALS = 3
# Read a round: some tenths of a second.
_SENTENCE_BYTES, _SENTENCE_READS = 64 << 20, 4096


@dataclass(frozen=True)
class Peer:
    """Random reads of `size_bytes`, `depth` in flight, by our reader `kind`, which was given `batch` of them at a time,
    and by fio's best `engine`. `ratio` is our throughput over fio's. The intervals are over rounds on one machine, not
    processes. `proof` is of our reads.
    """

    kind: Kind
    engine: str
    fio_version: str
    size_bytes: int
    depth: int
    reads: int
    batch: int
    ours_bytes_per_s: Estimate
    fio_bytes_per_s: Estimate
    ratio: Ratio
    proof: Proof


def fio_version() -> str | None:
    """The version of fio, or None where it is not installed."""
    if not shutil.which("fio"):
        return None
    return subprocess.run(["fio", "--version"], capture_output=True, text=True, timeout=_LIMIT_S).stdout.strip()


def compare(
    kind: Kind,
    path: Path,
    *,
    size_bytes: int,
    depth: int,
    reads: int,
    rounds: int,
    batch: int | None = None,
    announce: Callable[[str], None] = warnings.warn,
) -> Peer:
    """Read `reads` random pieces of `path` in each of `rounds` rounds, ours and fio by turns, in reversed order every
    other round. Ours asks for `batch` pieces at a time, for all of them if it is not given; fio never waits for a batch
    to end. A round should last a tenth of a second or more: fio's clock counts milliseconds.

    Raises UsageError where fio is not installed or the file is smaller than a piece, HarnessError where fio fails.
    """
    version = fio_version()
    if version is None:
        raise UsageError("fio is not installed.", "Install it, or leave out the peer.")
    places = path.stat().st_size // size_bytes
    if not places:
        raise UsageError(f"{path} is smaller than one read of {size_bytes} bytes.", "Name a larger file.")
    batch = min(batch or reads, reads)
    best = _best(path, size_bytes, depth, reads)
    seconds: dict[str, dict[int, float]] = {"ours": {}, best: {}}
    random, before, read = np.random.default_rng(0), fetched_bytes(), 0
    slots = min(batch, depth)  # a slow read may be run over by the next into its slot: nobody looks at what they read
    with open_reader(kind, path, Arena(slots, size_bytes), depth, announce) as reader:
        for turn in range(rounds):
            for name in list(seconds)[:: -1 if turn % 2 else 1]:
                if name == "ours":
                    offsets = random.integers(0, places, reads) * size_bytes
                    seconds[name][turn] = _ours(reader, offsets, size_bytes, batch, slots)
                    read += reads * size_bytes
                else:
                    seconds[name][turn] = _fio(name, path, size_bytes, depth, reads)
        proof = prove(before, fetched_bytes(), read)
        kind = reader.kind
    rates = {name: log_mean([reads * size_bytes / s for s in times.values()]) for name, times in seconds.items()}
    ratio = paired_ratio(seconds[best], seconds["ours"])
    return Peer(kind, best, version, size_bytes, depth, reads, batch, rates["ours"], rates[best], ratio, proof)


def peer_sentence(path: Path, kind: Kind, size_bytes: int, depth: int, rounds: int) -> str:
    """How our reader does beside fio on a file, for people; or why they were not compared."""
    reads = max(4 * depth, min(_SENTENCE_READS, _SENTENCE_BYTES // size_bytes))
    try:
        peer = compare(kind, path, size_bytes=size_bytes, depth=depth, reads=reads, rounds=rounds)
    except HarnessError as error:
        return f"Not compared with fio: {error.message}"
    low, high = peer.ratio.low, peer.ratio.high
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    doubt = "" if peer.proof.valid else f" But {peer.proof.reason}."
    return (
        f"{peer.kind} reads {size_bytes / 1024:g} KiB at depth {depth} {peer.ratio.value:.2f}{interval} times as fast "
        f"as {peer.fio_version} with {peer.engine}.{doubt}"
    )


def _ours(reader: Reader, offsets: np.ndarray, size_bytes: int, batch: int, slots: int) -> float:
    """Seconds that the reads take."""
    lengths, places = np.full(batch, size_bytes, np.int64), np.arange(batch, dtype=np.int64) % slots
    begin = time.perf_counter()
    for first in range(0, len(offsets), batch):
        part = offsets[first : first + batch]
        reader.read(part, lengths[: len(part)], places[: len(part)])
    return time.perf_counter() - begin


def _fio(engine: str, path: Path, size_bytes: int, depth: int, reads: int) -> float:
    """Seconds that fio needs for as many reads, by its own clock and without its start."""
    jobs, in_flight = (depth, 1) if engine == "psync" else (1, depth)  # psync waits for each read: it needs threads
    escaped = str(path).replace(":", r"\:")  # fio splits names at colons
    command = [
        "fio", "--name=peer", "--readonly", "--rw=randread", "--norandommap", "--randrepeat=0", "--direct=1",
        "--thread", "--group_reporting", "--output-format=json", f"--filename={escaped}",
        f"--size={path.stat().st_size // size_bytes * size_bytes}", f"--bs={size_bytes}", f"--ioengine={engine}",
        f"--iodepth={in_flight}", f"--numjobs={jobs}", f"--io_size={-(-reads // jobs) * size_bytes}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT_S)
        rate = _read_rate(done.stdout)
    except subprocess.CalledProcessError as error:
        why = (error.stderr or error.stdout or f"exit {error.returncode}").strip().splitlines()[-1]
        raise HarnessError(f"fio failed with its engine {engine} ({why}).", "Leave out the peer.") from error
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError) as error:
        raise HarnessError(
            f"fio gave nothing usable with its engine {engine} ({error}).", "Leave out the peer."
        ) from error
    return reads * size_bytes / rate


def _read_rate(output: str) -> float:
    """Bytes a second from fio's JSON, which notes may precede. Raises ValueError or LookupError for anything else."""
    result: Any = json.loads(output[output.index("{") :])
    (job,) = result["jobs"]
    if job["error"] or not job["read"]["io_bytes"]:
        raise ValueError(f"error {job['error']}, {job['read']['io_bytes']} bytes read")
    if job["read"]["bw_bytes"] <= 0:
        raise ValueError("too few reads to be timed")
    return float(job["read"]["bw_bytes"])


def _best(path: Path, size_bytes: int, depth: int, reads: int) -> str:
    """The fastest engine of those that this fio has and this kernel lets run, by a few alternated rounds. Raises
    HarnessError where none works.
    """
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    failure = None
    for _ in range(_TRIALS):
        for engine in list(seconds):
            try:
                seconds[engine].append(_fio(engine, path, size_bytes, depth, reads))
            except HarnessError as error:
                del seconds[engine]
                failure = error
    if failure and not seconds:
        raise failure
    return min(seconds, key=lambda engine: statistics.median(seconds[engine]))
