"""A rehearsal of the flash scenario: the same sequences by the model with all its neurons, its layers in memory where
they fit and else read from end to end for each token.

It tells how many neurons a window will hold, which is what the arena is made for; it refuses a model whose neurons do
not rest; and it leaves the tokens that this model chooses, to set those of a policy against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import PAGESIZE

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.flash.ablation.policies import Policy, named
from harness.flash.ablation.replay import NOTHING, Cost, Read, Replay, room
from harness.flash.ablation.trace import Trace, require_sparsity
from harness.flash.io.arena import Arena
from harness.flash.io.encoding import Floats
from harness.flash.io.geometry import Indices
from harness.flash.io.layout import NeuronFile
from harness.flash.io.reader import open_reader
from harness.flash.io.sequential import layer_blocks, rows_of
from harness.flash.language_model.engine import Layer, Stages, Step, from_flash, generate, step
from harness.flash.language_model.selector import Selector
from harness.job import Job

# Of a layer that is read whole, at a time.
_NEURONS, _DEPTH = 1024, 4
# Rows of all layers, widened to float32, that are held: to read them for each token takes most of a job's time.
_HELD_BYTES = 256 << 20
TokenStep = Callable[[int, int], Step]


@dataclass(frozen=True)
class Rehearsed:
    """`tokens[sequence]`: what the model chooses with all its neurons; `trace`: the neurons that are to be read."""

    tokens: list[list[int]]
    trace: Trace


def rehearse(
    job: Job, stages: Stages, file: NeuronFile, chooser: Selector, sequences: npt.NDArray[np.int64]
) -> Rehearsed:
    """Generate from each prompt [sequences, tokens]. Raises ModelError for a model without ReLU-like sparsity, and what
    reading raises.
    """
    new = job.new_tokens or 1
    with dense_steps(stages, file, asked=chooser) as token_step:
        done = [list(generate(token_step, prompt, new)) for prompt in sequences]
    tokens = [[token for token, _ in sequence if token is not None] for sequence in done]
    if job.predictor == "low-rank":  # what is missed changes the tokens, and these the neurons
        with dense_steps(stages, file, counted=chooser) as token_step:
            done = [list(generate(token_step, prompt, new)) for prompt in sequences]
    trace = Trace(tuple(step.active for sequence in done for _, step in sequence), file.shape.neurons, "rehearsed")
    if job.predictor != "low-rank":
        require_sparsity(trace)
    return Rehearsed(tokens, trace)


@contextmanager
def dense_steps(
    stages: Stages, file: NeuronFile, counted: Selector | None = None, asked: Selector | None = None
) -> Iterator[TokenStep]:
    """Tokens of which all neurons count, or those that `counted` names; `asked` only says which it would read."""
    width, neurons = file.shape.width, file.shape.neurons
    arena = Arena(file.arena_slots(min(max(neurons), _NEURONS)), file.record_bytes)
    with open_reader("threads", file.path, arena, _DEPTH) as reader, ThreadPoolExecutor(max_workers=1) as io:
        if 2 * 4 * width * sum(neurons) <= _HELD_BYTES:
            layer = _held(file, arena, reader.read, counted)
        else:
            layer = from_flash(Replay(named("hybrid"), file, [0], 1, arena, reader.read, io), file, counted)
        if asked is not None:
            layer = _asking(layer, asked)
        yield lambda token, position: step(stages, layer, token, position)


def _held(file: NeuronFile, arena: Arena, read: Read, counted: Selector | None) -> Layer:
    """Layers of which every row was read once, and checked."""
    held = [_rows(file, layer, arena, read) for layer in range(len(file.shape.neurons))]
    every = [np.arange(neurons) for neurons in file.shape.neurons]

    def apply_layer(index: int, x: Floats) -> tuple[Floats, Cost, Indices]:
        (up, down), active = held[index], every[index]
        hidden = np.maximum(up @ x, 0)
        if counted is not None:
            active = counted.select(index, x)
            counts = np.zeros_like(hidden)
            counts[active] = 1
            hidden *= counts  # and not a sum of fewer: what is missed alone must make a difference
        return hidden @ down, NOTHING, active

    return apply_layer


def _rows(file: NeuronFile, layer: int, arena: Arena, read: Read) -> tuple[Floats, Floats]:
    """The up rows and the down rows of a layer, float32 [neurons, width] both."""
    parts = []
    for neurons, block in layer_blocks(file, layer, arena.slots):
        read(*block)
        rows = rows_of(file, len(neurons), arena.view)
        file.check(layer, neurons, rows)
        parts.append(file.decode(layer, neurons, rows))
    up, down = (np.concatenate(side) for side in zip(*parts, strict=True))
    return up, down


def room_for(job: Job, policy: Policy, file: NeuronFile, rehearsed: Rehearsed, kept_bytes: int) -> tuple[int, ...]:
    """For how many neurons there must be DRAM, besides the `kept_bytes` of what chooses them. The sequences are asked
    again and again, so the first follows the last. A few more where the budget has them: sums in another order may
    choose another neuron.

    Raises UsageError for a budget that is too small.
    """
    left = None if job.dram_budget_bytes is None else job.dram_budget_bytes - kept_bytes
    if left is not None and left <= 0:
        raise UsageError(
            f"Choosing neurons ({job.predictor}) keeps {kept_bytes} bytes in DRAM, and the budget is "
            f"{job.dram_budget_bytes}.",
            "Raise the budget." if job.predictor == "low-rank" else "Raise it, or choose by --predictor low-rank.",
        )
    trace = rehearsed.trace
    again = trace.active[: len(trace.active) // len(rehearsed.tokens)]
    needed = room(policy, file, Trace(trace.active + again, trace.neurons, ""), job.window or 1, left)
    if not policy.predictor:
        return needed
    most = file.shape.neurons if policy.window else (max(file.shape.neurons),)
    spare = tuple(min(all_of, few + 1 + few // 64) for all_of, few in zip(most, needed, strict=True))
    fits = left is None or sum(spare) * 2 * file.stride <= left // PAGESIZE * PAGESIZE
    return spare if fits else needed


def _asking(layer: Layer, asked: Selector) -> Layer:
    def apply_layer(index: int, x: Floats) -> tuple[Floats, Cost, Indices]:
        y, cost, _ = layer(index, x)
        return y, cost, asked.select(index, x)

    return apply_layer
