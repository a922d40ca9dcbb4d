"""One policy going through a trace: what it reads, where that lies in DRAM, and what each token takes.

The rows that were read are multiplied for real, in float32: y = relu(up x) down over the active neurons. The trace says
which these are, even where the rows are not those of the model it came from; so every policy must arrive at the same y.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from mmap import PAGESIZE
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.flash.ablation.pipeline import Clock, overlapped, serial
from harness.flash.ablation.policies import Policy, steppers
from harness.flash.ablation.trace import Trace, aggregates
from harness.flash.ablation.window import Step
from harness.flash.io.arena import Arena
from harness.flash.io.encoding import Floats
from harness.flash.io.geometry import Geometry, Indices
from harness.flash.io.layout import NeuronFile
from harness.flash.io.sequential import Block, layer_blocks, rest_blocks, rows_of

Read = Callable[[Indices, Indices, Indices], int]

# Of a pipeline's cluster: enough reads for a device's depth, few enough that a layer's new neurons make several.
CLUSTER_NEURONS = 128
# Widened at a time: the float32 copies of a whole layer would be its size twice over, and fetched from fresh pages.
_PRODUCT_NEURONS = 1024


class Cost(NamedTuple):
    """Of a token or a layer. In nanoseconds: `io_ns` the reader was busy, `wait_ns` nothing was computed for want of
    rows (less than `io_ns` only in a pipeline), `mem_ns` went into keeping the window and gathering rows in DRAM,
    `compute_ns` into widening them to float32 and multiplying. `hits` neurons needed no read.
    """

    io_ns: int
    wait_ns: int
    mem_ns: int
    compute_ns: int
    asked_bytes: int
    reads: int
    hits: int


NOTHING = Cost(0, 0, 0, 0, 0, 0, 0)


def room(policy: Policy, file: Geometry, trace: Trace, window: int, budget_bytes: int | None) -> tuple[int, ...]:
    """For how many neurons the policy needs DRAM: in a window, of each layer; else, of the one layer at hand. Where a
    layer is read whole, but the budget holds only a part of it, that part.

    Raises UsageError for a budget below what is needed.
    """
    neuron_bytes = 2 * file.stride
    if policy.window:
        needed, what = aggregates(trace, window).peak_resident, f"A window of {window} tokens of this trace takes"
    elif policy.predictor:
        needed = (max(len(active) for layers in trace.active for active in layers),)
        what = "The active neurons of a layer take"
    else:
        largest = max(trace.neurons)
        fitting = largest if budget_bytes is None else budget_bytes // PAGESIZE * PAGESIZE // neuron_bytes
        needed, what = (max(1, min(largest, fitting)),), "One neuron takes"
    needed_bytes = -(-sum(needed) * neuron_bytes // PAGESIZE) * PAGESIZE  # an arena is whole pages
    if budget_bytes is not None and needed_bytes > budget_bytes:
        raise UsageError(
            f"{what} {needed_bytes} bytes of DRAM, and the budget is {budget_bytes}.",
            "Raise the budget, or shorten the window.",
        )
    return needed


class _Cluster(NamedTuple):
    """Neurons of a layer and the slots that their rows will lie in, and the reads that bring them there."""

    neurons: Indices
    slots: Indices
    reads: Block


class Replay:
    """`token` does one token after the other. `neurons` is from `room`; `arena` has a record for each row of as many,
    and `read` fills it; `io` is an executor of one thread, for the pipeline.
    """

    def __init__(
        self,
        policy: Policy,
        file: NeuronFile,
        neurons: Sequence[int],
        window: int,
        arena: Arena,
        read: Read,
        io: Executor,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        layers = file.shape.neurons
        self._policy, self._file, self._arena, self._read = policy, file, arena, read
        self._io, self._clock = io, clock
        self._steps = steppers(policy, layers, window, neurons)
        self._first_slot = np.cumsum([0, *neurons])[:-1] if policy.window else np.zeros(len(layers), np.int64)

    def token(self, layers: Sequence[Indices], inputs: Floats) -> tuple[Cost, Floats]:
        """What a token with these active neurons of each layer cost, and the outputs [layers, width] for `inputs`
        [layers, width].

        Raises ModelError for an active neuron whose bytes are not its own, HarnessError when the device fails.
        """
        results = [self.layer(layer, active, x) for layer, (active, x) in enumerate(zip(layers, inputs, strict=True))]
        return total([*(cost for cost, _ in results), self.rest()]), np.stack([y for _, y in results])

    def layer(self, layer: int, active: Indices, x: Floats) -> tuple[Cost, Floats]:
        """One layer of a token: layers come in their order, each once. `x` and the output are [width]; errors as
        `token`'s.
        """
        return (self._active_of_layer if self._policy.predictor else self._whole_layer)(layer, active, x)

    def rest(self) -> Cost:
        """What a token reads of attention and all else: nothing where that stays in DRAM."""
        blocks = () if self._policy.hybrid else rest_blocks(self._file, self._arena.slots)
        return total([NOTHING, *map(self._timed_read, blocks)])

    def _whole_layer(self, layer: int, active: Indices, x: Floats) -> tuple[Cost, Floats]:
        """Read all of a layer and compute it, as much at a time as the arena holds; only the active neurons count."""
        y, costs = np.zeros_like(x), []
        for neurons, block in layer_blocks(self._file, layer, self._arena.slots):
            costs.append(self._timed_read(block))
            started = self._clock()
            rows = rows_of(self._file, len(neurons), self._arena.view)
            counts = np.zeros(len(neurons), np.float32)
            here = active[(active >= neurons[0]) & (active <= neurons[-1])]
            counts[here - neurons[0]] = 1
            y += self._product(layer, neurons, rows, counts, x)
            costs.append(Cost(0, 0, 0, self._clock() - started, 0, 0, 0))
            self._file.check(layer, here, rows[here - neurons[0]])
        return total(costs), y

    def _active_of_layer(self, layer: int, active: Indices, x: Floats) -> tuple[Cost, Floats]:
        """Read those of the active neurons that are not resident, and compute all of them."""
        started = self._clock()
        step = self._steps[layer](active)
        clusters = self._clusters(layer, active, step)
        mem_ns = self._clock() - started
        y, gather_ns = np.zeros_like(x), 0
        memory = self._arena.view.reshape(-1, 2, self._file.stride)[self._first_slot[layer] :]

        def read(cluster: _Cluster) -> None:
            self._read(*cluster.reads)

        def compute(cluster: _Cluster) -> None:
            nonlocal y, gather_ns
            started = self._clock()
            rows = memory[cluster.slots]
            gather_ns += self._clock() - started
            y += self._product(layer, cluster.neurons, rows, np.ones(len(rows), np.float32), x)

        if self._policy.pipeline:
            times = overlapped(clusters, read, compute, self._io, self._clock)
        else:
            times = serial(clusters, read, compute, self._clock)
        self._file.check(layer, step.load, memory[step.load_slots])
        asked = sum(int(cluster.reads.lengths.sum()) for cluster in clusters)
        reads = sum(len(cluster.reads.lengths) for cluster in clusters)
        hits = len(active) - len(step.load)
        return Cost(times.io_ns, times.wait_ns, mem_ns + gather_ns, times.compute_ns - gather_ns, asked, reads, hits), y

    def _clusters(self, layer: int, active: Indices, step: Step) -> list[_Cluster]:
        """All active neurons at once; in a pipeline first those that are resident, then the others as they come."""
        if not self._policy.pipeline:
            return [_Cluster(active, step.slots_of_active, self._reads(layer, step.load, step.load_slots))]
        resident = np.isin(active, step.load, assume_unique=True, invert=True)
        nothing = self._reads(layer, step.load[:0], step.load_slots[:0])
        clusters = [_Cluster(active[resident], step.slots_of_active[resident], nothing)]
        for start in range(0, len(step.load), CLUSTER_NEURONS):
            neurons, slots = (part[start : start + CLUSTER_NEURONS] for part in (step.load, step.load_slots))
            clusters.append(_Cluster(neurons, slots, self._reads(layer, neurons, slots)))
        return clusters

    def _reads(self, layer: int, neurons: Indices, slots: Indices) -> Block:
        reads = self._file.reads(layer, neurons)
        return Block(reads.offsets, reads.lengths, self._file.slots(self._first_slot[layer] + slots))

    def _product(self, layer: int, neurons: Indices, rows: npt.NDArray[np.uint8], counts: Floats, x: Floats) -> Floats:
        """(counts * relu(up x)) down for `rows` [n, 2, stride] of `neurons` [n]: [width]."""
        y = np.zeros_like(x)
        for start in range(0, len(neurons), _PRODUCT_NEURONS):
            some = slice(start, start + _PRODUCT_NEURONS)
            up, down = self._file.decode(layer, neurons[some], rows[some])
            y += (np.maximum(up @ x, 0) * counts[some]) @ down
        return y

    def _timed_read(self, block: Block) -> Cost:
        started = self._clock()
        asked = self._read(*block)
        io_ns = self._clock() - started
        return Cost(io_ns, io_ns, 0, 0, asked, len(block.lengths), 0)


def total(costs: Sequence[Cost]) -> Cost:
    """All of them together; there must be one."""
    return Cost(*map(sum, zip(*costs, strict=True)))
