"""The ablation of "LLM in a flash" (arXiv 2312.11514, table 3), measured: the same trace under every policy.

Rounds alternate: every second one takes the policies backwards, so that a drift of the device falls on all of them
alike. All rounds are of one process. What one process cannot show, such as another placement of its memory, the
intervals do not contain.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError, UsageError
from harness.flash.ablation.pipeline import Clock
from harness.flash.ablation.policies import POLICIES, Policy
from harness.flash.ablation.replay import Cost, Replay, room
from harness.flash.ablation.trace import Trace, require_window
from harness.flash.io.arena import Arena
from harness.flash.io.encoding import Floats
from harness.flash.io.geometry import Form
from harness.flash.io.layout import NeuronFile
from harness.flash.io.proof import cached_fraction
from harness.flash.io.reader import DIRECT, Kind, open_reader
from harness.storage_reads import fetched_bytes

# How far outputs of two policies may be apart, of the largest of them: they add the same numbers in other orders.
_SAME_OUTPUT = 1e-4


@dataclass(frozen=True)
class Conditions:
    """What all rows have in common: the `window` in tokens, how the reader reads and how many reads it keeps in flight,
    what the arena may take of DRAM, and the seed of the inputs.
    """

    window: int
    kind: Kind
    depth: int
    budget_bytes: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One token of one round of one policy. `read_bytes` is what the kernel fetched from the device for it, None where
    it does not say. `arena_bytes` were taken in DRAM for neurons, `resident_bytes` with tables and the rest; float32
    copies of the rows that are being multiplied come on top. `cached` is the share of the file in the page cache as the
    round began, where the reader goes through it.
    """

    policy: str
    round: int
    token: int
    kind: Kind
    cost: Cost
    active: int
    read_bytes: int | None
    arena_bytes: int
    resident_bytes: int
    cached: float | None


def ablate(
    files: Mapping[Form, NeuronFile],
    trace: Trace,
    conditions: Conditions,
    rounds: int,
    policies: Sequence[Policy] = POLICIES,
    clock: Clock = time.perf_counter_ns,
) -> Iterator[Row]:
    """Replay `trace` under each policy in each round: a row per token, as soon as it was measured. The first `window`
    tokens of a round fill the window. `files` has the same weights in each form that the policies ask for.

    Raises UsageError for a window that the trace is too short for, a budget below one window, or files that do not fit
    the trace; ModelError for a corrupted neuron; HarnessError when the device fails, or policies disagree in what they
    compute.
    """
    require_window(conditions.window, len(trace.active))
    for policy in policies:  # all of them before anything is measured
        _require_fit(files, trace, policy)
        room(policy, files[form_of(policy)], trace, conditions.window, conditions.budget_bytes)
    expected: list[Floats] = []
    for number in range(rounds):
        for policy in policies if number % 2 == 0 else policies[::-1]:
            file = files[form_of(policy)]
            for token, (row, outputs) in enumerate(_round(policy, file, trace, conditions, number, clock)):
                if token == len(expected):
                    expected.append(outputs)
                _compare(policy, token, outputs, expected[token])
                yield row


def form_of(policy: Policy) -> Form:
    """The form of file that a policy reads."""
    return "bundled" if policy.bundled else "plain"


def _round(
    policy: Policy, file: NeuronFile, trace: Trace, conditions: Conditions, number: int, clock: Clock
) -> Iterator[tuple[Row, Floats]]:
    """A policy from the first token to the last, beginning with nothing in DRAM; with the outputs of each token."""
    neurons = room(policy, file, trace, conditions.window, conditions.budget_bytes)
    arena = Arena(file.arena_slots(sum(neurons)), file.record_bytes, conditions.budget_bytes)
    resident = arena.bytes + file.table_bytes + (file.shape.rest_bytes if policy.hybrid else 0)
    opened = open_reader(conditions.kind, file.path, arena, conditions.depth)
    with opened as reader, ThreadPoolExecutor(max_workers=1) as io:
        cached = None if reader.kind in DIRECT else cached_fraction(file.path)
        replay = Replay(policy, file, neurons, conditions.window, arena, reader.read, io, clock)
        for token, layers in enumerate(trace.active):
            random = np.random.default_rng([conditions.seed, token])
            inputs = random.standard_normal((len(layers), file.shape.width), np.float32)
            before = fetched_bytes()
            cost, outputs = replay.token(layers, inputs)
            after = fetched_bytes()
            read = None if before is None or after is None else after - before
            active = sum(map(len, layers))
            row = Row(policy.name, number, token, reader.kind, cost, active, read, arena.bytes, resident, cached)
            yield row, outputs


def _compare(policy: Policy, token: int, outputs: Floats, expected: Floats) -> None:
    apart, largest = (float(np.abs(part).max()) for part in (outputs - expected, expected))
    if not apart <= _SAME_OUTPUT * largest:
        raise HarnessError(
            f"Policy {policy.name} computes other outputs for token {token} than the first one: {apart:.3g} apart.",
            "Write both files again, from the same weights.",
        )


def _require_fit(files: Mapping[Form, NeuronFile], trace: Trace, policy: Policy) -> None:
    form = form_of(policy)
    if form not in files or files[form].form != form:
        raise UsageError(f"Policy {policy.name} needs a {form} neuron file.", "Write one with `harness flash write`.")
    if files[form].shape.neurons != trace.neurons:
        raise UsageError(
            f"The trace is of layers of {list(trace.neurons)} neurons, {files[form].path} has "
            f"{list(files[form].shape.neurons)}.",
            "Give a trace of the model whose weights these are.",
        )
