"""A language model whose feed-forward weights lie in flash, one token at a time.

The program computes all but the feed-forward layers, in stages (see `Stages`); between two of them stands a layer,
which a `Replay` reads and computes as its policy has it. What it needs to know beforehand is which neurons to read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.flash.ablation.pipeline import Clock
from harness.flash.ablation.replay import NOTHING, Cost, Replay, total
from harness.flash.io.encoding import Floats
from harness.flash.io.geometry import Indices
from harness.flash.io.layout import NeuronFile
from harness.flash.language_model.selector import Selector

# What enters feed-forward layer i of a token and what leaves it, [width] both; its cost, and the neurons it read.
Layer = Callable[[int, Floats], tuple[Floats, Cost, Indices]]


@dataclass(frozen=True)
class Stages:
    """The program: `first(token, position)` to the residual stream and the inputs of layer 0; `between(i, residual, y,
    position)` to those of layer i, 1 to `layers` - 1; `last(residual, y, position)` to the logits [vocabulary]. All
    float32 [width]. State of a sequence is inside; position 0 begins another.
    """

    layers: int
    first: Callable[[int, int], tuple[Floats, Floats]]
    between: Callable[[int, Floats, Floats, int], tuple[Floats, Floats]]
    last: Callable[[Floats, Floats, int], Floats]


class Step(NamedTuple):
    """A token: its logits [vocabulary], what it cost, and the neurons of each layer that took part. `cost.compute_ns`
    has the program and the choice of neurons in it; checking rows against their checksums is in no time.
    """

    logits: Floats
    cost: Cost
    active: tuple[Indices, ...]


def step(
    stages: Stages,
    layer: Layer,
    token: int,
    position: int,
    rest: Callable[[], Cost] = lambda: NOTHING,
    clock: Clock = time.perf_counter_ns,
) -> Step:
    """Do one token. `rest` reads what is neither program nor layer. Raises what reading a layer does."""
    costs, active = [rest()], []
    started = clock()
    residual, x = stages.first(token, position)
    program_ns = clock() - started
    for index in range(stages.layers):
        y, cost, used = layer(index, x)
        costs.append(cost)
        active.append(used)
        started = clock()
        if index + 1 < stages.layers:
            residual, x = stages.between(index + 1, residual, y, position)
        else:
            logits = stages.last(residual, y, position)
        program_ns += clock() - started
    return Step(logits, total([*costs, NOTHING._replace(compute_ns=program_ns)]), tuple(active))


def from_flash(
    replay: Replay, file: NeuronFile, selector: Selector | None, clock: Clock = time.perf_counter_ns
) -> Layer:
    """Layers as `replay` reads them; of each the neurons that `selector` names count, or all of them."""
    every = [np.arange(neurons) for neurons in file.shape.neurons]

    def layer(index: int, x: Floats) -> tuple[Floats, Cost, Indices]:
        started = clock()
        active = every[index] if selector is None else selector.select(index, x)
        select_ns = clock() - started
        cost, y = replay.layer(index, active, x)
        return y, cost._replace(compute_ns=cost.compute_ns + select_ns), active

    return layer


def generate(
    one_token: Callable[[int, int], Step], prompt: npt.NDArray[np.int64], new_tokens: int
) -> Iterator[tuple[int | None, Step]]:
    """Steps of a sequence, greedily: those of the `prompt` [p], then `new_tokens` - 1 more. With each from the prompt's
    last on comes the token that it chose, the first of the largest logits.
    """
    token = 0
    for position in range(len(prompt) + new_tokens - 1):
        token = int(prompt[position]) if position < len(prompt) else token
        done = one_token(token, position)
        chosen = None
        if position >= len(prompt) - 1:
            chosen = token = int(done.logits.argmax())
        yield chosen, done
