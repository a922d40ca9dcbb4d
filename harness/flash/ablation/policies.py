"""The ablation of "LLM in a flash" (arXiv 2312.11514, table 3): what each row of it reads from flash in a token.

Pure: from a trace follow the numbers and sizes of reads, on any device. The paper's `hybrid` row keeps half of the
model in DRAM; here it keeps exactly what is not feed-forward, as the paper's later rows do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.flash.ablation.trace import Trace
from harness.flash.ablation.window import Step, Window
from harness.flash.io.geometry import Indices


@dataclass(frozen=True)
class Policy:
    """A row of the ablation; each adds one thing to the row before.

    hybrid: attention and all else stay in DRAM. predictor: the active neurons are known before they are read. window:
    those of the last tokens stay in DRAM. bundled: the two rows of a neuron are one read. pipeline: clusters of neurons
    are computed while others are read.
    """

    name: str
    hybrid: bool = False
    predictor: bool = False
    window: bool = False
    bundled: bool = False
    pipeline: bool = False


POLICIES = (
    Policy("none"),
    Policy("hybrid", hybrid=True),
    Policy("+ predictor", hybrid=True, predictor=True),
    Policy("+ windowing", hybrid=True, predictor=True, window=True),
    Policy("+ bundling", hybrid=True, predictor=True, window=True, bundled=True),
    Policy("+ pipeline", hybrid=True, predictor=True, window=True, bundled=True, pipeline=True),
)


def named(name: str) -> Policy:
    """The row of the ablation that adds `name` to the one before. Raises UsageError for one that there is not."""
    for policy in POLICIES:
        if policy.name.removeprefix("+ ") == name:
            return policy
    known = ", ".join(policy.name.removeprefix("+ ") for policy in POLICIES)
    raise UsageError(f"There is no policy {name!r}.", f"Choose one of: {known}.")


@dataclass(frozen=True)
class Demand:
    """What a policy asks of flash in a token: `sequential_bytes` in large pieces, and `layer_reads` [layers] scattered
    reads of `read_bytes` each, those of a layer together; `hits` active neurons were in DRAM already.
    """

    sequential_bytes: int
    layer_reads: tuple[int, ...]
    read_bytes: int
    hits: int

    @property
    def reads(self) -> int:
        """Scattered reads of all layers."""
        return sum(self.layer_reads)

    @property
    def bytes(self) -> int:
        """All of them."""
        return self.sequential_bytes + self.reads * self.read_bytes


Stepper = Callable[[Indices], Step]


def steppers(policy: Policy, neurons: Sequence[int], window: int, slots: Sequence[int]) -> list[Stepper]:
    """How each layer's active neurons are placed in its `slots`: in a window, or all of them anew in every token."""
    if policy.window:
        return [Window(n, window, layer_slots).step for n, layer_slots in zip(neurons, slots, strict=True)]
    return [load_all] * len(neurons)


def load_all(active: Indices) -> Step:
    """Nothing is kept: every active neuron is read, into the first slots."""
    slots = np.arange(len(active))
    return Step(active, slots, slots, dropped=0)


def demands(policy: Policy, trace: Trace, window: int, row_bytes: int, rest_bytes: int = 0) -> Iterator[Demand]:
    """Token by token, for rows of `row_bytes` in the file (a projection's weights of a neuron, with their padding) and
    `rest_bytes` of attention and all else. The first tokens fill the window.
    """
    rest = 0 if policy.hybrid else rest_bytes
    reads_a_neuron, read_bytes = (1, 2 * row_bytes) if policy.bundled else (2, row_bytes)
    if not policy.predictor:
        for _ in trace.active:
            yield Demand(rest + 2 * row_bytes * sum(trace.neurons), (), read_bytes, 0)
        return
    steps = steppers(policy, trace.neurons, window, trace.neurons)
    for layers in trace.active:
        loaded = [len(step(active).load) for step, active in zip(steps, layers, strict=True)]
        layer_reads = tuple(reads_a_neuron * neurons for neurons in loaded)
        yield Demand(rest, layer_reads, read_bytes, sum(map(len, layers)) - sum(loaded))
