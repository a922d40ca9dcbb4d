"""The flash scenario in the worker: generate token by token, feed-forward weights read from flash as the job's policy
has it.

Before anything is measured the prompts are rehearsed (`flash_rehearsal`), in the same process and before its memory is
looked at.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UsageError
from harness.flash.ablation.policies import Policy, named
from harness.flash.ablation.replay import Read, Replay
from harness.flash.io.arena import Arena
from harness.flash.io.cgroup import limited
from harness.flash.io.layout import NeuronFile
from harness.flash.io.proof import cached_fraction, prove
from harness.flash.io.reader import DIRECT, KINDS, Kind, open_reader
from harness.flash.language_model import files as flash_files
from harness.flash.language_model import selector as selectors
from harness.flash.language_model.engine import Stages, Step, from_flash, step
from harness.flash.language_model.recording import Recorder
from harness.flash.language_model.selector import Selector
from harness.job import Files, Job
from harness.protocol import Event, Scalar
from harness.scenarios.closed_loop import repeat, warm_up
from harness.statistics.steady import SteadyRule
from harness.worker import probes
from harness.worker.flash import program as flash_program
from harness.worker.flash.peer import peer as compare_with_peer
from harness.worker.flash.query import FlashQuery, prompts
from harness.worker.flash.reads import record
from harness.worker.flash.rehearsal import dense_steps, rehearse, room_for

MEMORY_QUERIES = 2
Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Opened:
    """A policy that is ready to do tokens: `token_step(token, position)`. Bytes: `arena_bytes` for neurons,
    `kept_bytes` by what chooses them, `dram_bytes` with tables and, where the policy keeps it, all else.
    """

    token_step: Callable[[int, int], Step]
    kind: Kind
    arena_bytes: int
    kept_bytes: int
    dram_bytes: int


def work(job: Job, files: Files, emit: Emit) -> None:
    """Do a job of the flash scenario. Raises UsageError, ModelError or HarnessError: one sentence each."""
    path, policy = Path(files.model), named(job.policy or "")
    description, loaded, stages = flash_program.load(path, job.threads)
    file = flash_files.open_neurons(path, "bundled" if policy.bundled else "plain", description.metadata)
    chooser = _chooser(job, path, file, description.metadata)
    vocabulary = int(description.metadata["get_vocab_size"])
    if job.measure == "quality":
        from harness.worker.flash.quality import loss

        context = int(description.metadata["get_max_seq_len"])
        again = flash_program.load(path, job.threads)[2]  # two sequences at once need two caches
        tally: Counter[str] = Counter()
        if job.predictor == "low-rank":
            chooser = selectors.tallied(chooser, selectors.exact(file), tally)
        with dense_steps(stages, file) as dense, dense_steps(again, file, counted=chooser) as chosen:
            loss(dense, chosen, Path(files.tokens or ""), context, vocabulary, job.max_tokens, emit)
        for name, count in tally.items():
            emit(Scalar(name=f"predictor_{name}", value=count))
        return
    sequences = prompts(job, files, vocabulary)
    rehearsed = rehearse(job, stages, file, chooser, sequences)
    neurons = room_for(job, policy, file, rehearsed, chooser.bytes if policy.predictor else 0)
    if job.measure == "reads":
        recorder = Recorder()
        with opened(job, policy, stages, file, chooser, neurons, recorder.through) as ready:
            dram = {name: getattr(ready, name) for name in ("arena_bytes", "kept_bytes", "dram_bytes")}
            slots, folder = file.arena_slots(sum(neurons)), Path(files.output or "")
            emit(record(job, recorder, ready.token_step, file, slots, dram, sequences, folder))
        return
    probes.reset_peak()
    if job.measure == "memory":
        emit(probes.memory("runtime"))
    emit(loaded)
    with _budget(job, emit), opened(job, policy, stages, file, chooser, neurons) as ready:
        query = FlashQuery(ready.token_step, sequences, job.new_tokens or 1, time.perf_counter_ns)
        _sizes(ready, emit)
        if job.measure == "memory":
            _measure_memory(query, emit)
        else:
            _measure_latency(job, query, ready, file, rehearsed.tokens, emit)
    if job.measure == "latency":  # beyond the budget, which fio would be charged to
        for scalar in compare_with_peer(job, ready.kind, file, query):
            emit(scalar)


def _chooser(job: Job, path: Path, file: NeuronFile, metadata: dict[str, object]) -> Selector:
    if job.predictor == "low-rank":
        return selectors.low_rank(flash_files.open_predictors(path, metadata), file)
    return selectors.exact(file)


@contextmanager
def opened(
    job: Job,
    policy: Policy,
    stages: Stages,
    file: NeuronFile,
    chooser: Selector,
    neurons: tuple[int, ...],
    through: Callable[[Read], Read] = lambda read: read,
) -> Iterator[Opened]:
    """The job's policy, with nothing of the layers in DRAM yet; every read goes `through`."""
    used = chooser if policy.predictor else None
    chooser_bytes = used.bytes if used else 0
    budget = None if job.dram_budget_bytes is None else job.dram_budget_bytes - chooser_bytes
    arena = Arena(file.arena_slots(sum(neurons)), file.record_bytes, budget)
    kind = next(kind for kind in KINDS if kind == job.reader)
    reading = open_reader(kind, file.path, arena, job.depth or 1, _refuse)
    with reading as reader, ThreadPoolExecutor(max_workers=1) as io:
        replay = Replay(policy, file, neurons, job.window or 1, arena, through(reader.read), io)
        layer = from_flash(replay, file, used)
        dram = arena.bytes + chooser_bytes + file.table_bytes + (file.shape.rest_bytes if policy.hybrid else 0)
        yield Opened(
            lambda token, position: step(stages, layer, token, position, replay.rest),
            kind,
            arena.bytes,
            chooser_bytes,
            dram,
        )


@contextmanager
def _budget(job: Job, emit: Emit) -> Iterator[None]:
    """The budget as the kernel keeps it, and the most that was taken of it; the arena keeps to it by itself."""
    if job.dram_budget_bytes is None:
        yield
        return
    with limited(job.dram_budget_bytes) as limit:
        yield
        peak = limit.peak_bytes()
        emit(Scalar(name="cgroup_limit_bytes", value=limit.limit_bytes, reason=limit.reason))
        emit(
            Scalar(name="cgroup_peak_bytes", value=peak, reason=None if peak is not None else limit.reason or "unknown")
        )


def _refuse(why: str) -> None:
    """A fallback would be another job than the one whose name the row bears."""
    raise UsageError(why.replace("reads in its place", "can"), "Choose it with --reader.")


def _sizes(ready: Opened, emit: Emit) -> None:
    for name in ("arena_bytes", "kept_bytes", "dram_bytes"):
        emit(Scalar(name=name, value=getattr(ready, name)))


def _measure_memory(query: FlashQuery, emit: Emit) -> None:
    for phase, queries in (("load", 0), ("first", 1), ("steady", MEMORY_QUERIES)):
        probes.reset_peak()
        for _ in range(queries):
            query()
        emit(probes.memory(phase))


def _measure_latency(
    job: Job, query: FlashQuery, ready: Opened, file: NeuronFile, expected: list[list[int]], emit: Emit
) -> None:
    if ready.kind not in DIRECT:
        cached = cached_fraction(file.path)
        emit(Scalar(name="cached_fraction", value=cached, reason=None if cached is not None else "not known"))
    query()
    emit(query.first())
    warmup, steady = warm_up(query, job.max_warmup_s, time.perf_counter_ns, SteadyRule())
    emit(warmup.event("warmup"))
    emit(Scalar(name="warmup_steady", value=float(steady)))
    query.forget()
    probe = probes.IoProbe()
    emit(Scalar(name="queries", value=repeat(query, job, time.perf_counter_ns)))
    io = probe.since("generate", query.asked_bytes)
    emit(io)
    for phase, series in query.phases.items():
        emit(series.event(phase))
    for name, value in query.totals().items():
        emit(Scalar(name=name, value=value))
    emit(Scalar(name="token_agreement", value=query.agreement(expected)))
    proof = prove(0, io.read_bytes, query.asked_bytes)
    if not proof.valid:
        raise HarnessError(
            f"This process does not count: {proof.reason}.", "Choose a reader that passes by the page cache (--reader)."
        )
