"""One query of a model and its durations. Nothing but `execute` lies between two readings of the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.protocol import Samples

Clock = Callable[[], int]
Execute = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass
class Series:
    """Durations of one phase as they come in."""

    start_ns: list[int] = field(default_factory=list)
    duration_ns: list[int] = field(default_factory=list)

    def event(self, phase: str) -> Samples:
        """As the protocol says it."""
        return Samples(phase=phase, start_ns=self.start_ns, duration_ns=self.duration_ns)

    def clear(self) -> None:
        """Forget them."""
        self.start_ns.clear()
        self.duration_ns.clear()


class Query(Protocol):
    """Asks the model once, appends to the series of its phases, returns the duration of the whole in nanoseconds."""

    phases: dict[str, Series]

    def __call__(self) -> int: ...


class SingleQuery:
    """One `execute` with fixed inputs, recorded under `phase`."""

    def __init__(self, execute: Execute, inputs: Sequence[Any], phase: str, clock: Clock) -> None:
        self._execute, self._inputs, self._clock = execute, inputs, clock
        self._series = Series()
        self.phases = {phase: self._series}

    def __call__(self) -> int:
        execute, inputs, clock = self._execute, self._inputs, self._clock
        start = clock()
        execute(inputs)
        end = clock()
        self._series.start_ns.append(start)
        self._series.duration_ns.append(end - start)
        return end - start


class MultiStreamQuery:
    """Several samples that are asked together: `executes` times one batch, and the query ends with the last.

    Phase: `multi_stream`, the whole query.
    """

    def __init__(self, execute: Execute, inputs: Sequence[Any], executes: int, clock: Clock) -> None:
        self._execute, self._inputs, self._executes, self._clock = execute, inputs, range(executes), clock
        self._series = Series()
        self.phases = {"multi_stream": self._series}

    def __call__(self) -> int:
        execute, inputs, clock = self._execute, self._inputs, self._clock
        start = clock()
        for _ in self._executes:
            execute(inputs)
        end = clock()
        self._series.start_ns.append(start)
        self._series.duration_ns.append(end - start)
        return end - start


class EveryNth:
    """A query of which only one call in `stride` leaves its samples: the others are asked and forgotten."""

    def __init__(self, query: Query, stride: int) -> None:
        self._query, self._stride, self._count = query, stride, 0
        self.phases = query.phases

    def __call__(self) -> int:
        length_by_phase = {phase: len(series.start_ns) for phase, series in self.phases.items()}
        duration = self._query()
        if self._count % self._stride:
            for phase, series in self.phases.items():
                del series.start_ns[length_by_phase[phase] :], series.duration_ns[length_by_phase[phase] :]
        self._count += 1
        return duration


class Tokens(Protocol):
    """The tensor side of generation, so that this file needs no torch: inputs of prompt and step, greedy choice, which
    is None where the answer ends.
    """

    def prompt(self) -> Sequence[Any]: ...

    def choose(self, outputs: Sequence[Any], position: int) -> Sequence[Any] | None: ...


class GenerateQuery:
    """Prefill, then `new_tokens - 1` decode steps, greedily, or fewer where the answer ends: the first new token comes
    out of the prefill.

    Phases: `prefill` and `decode` time `execute` alone; `ttft` is the time to first token, from the query to the
    chosen token; `generate` the whole query, choosing tokens included.
    """

    def __init__(self, execute: Execute, tokens: Tokens, prompt_tokens: int, new_tokens: int, clock: Clock) -> None:
        self._execute, self.tokens, self._clock = execute, tokens, clock
        self._positions = range(prompt_tokens, prompt_tokens + new_tokens - 1)
        self.phases = {phase: Series() for phase in ("ttft", "prefill", "decode", "generate")}

    def with_tokens(self, tokens: Tokens) -> GenerateQuery:
        """The same query, with the same series, whose tokens are chosen by `tokens`."""
        other = copy(self)
        other.tokens = tokens
        return other

    def __call__(self) -> int:
        execute, tokens, clock = self._execute, self.tokens, self._clock
        prefill, decode = self.phases["prefill"], self.phases["decode"]
        asked = clock()
        prompt = tokens.prompt()
        start = clock()
        outputs = execute(prompt)
        end = clock()
        prefill.start_ns.append(start)
        prefill.duration_ns.append(end - start)
        inputs = tokens.choose(outputs, self._positions.start)
        first_token = clock()
        for position in self._positions:
            if inputs is None:
                break
            start = clock()
            outputs = execute(inputs)
            end = clock()
            decode.start_ns.append(start)
            decode.duration_ns.append(end - start)
            inputs = tokens.choose(outputs, position + 1)
        answered = clock()
        self.phases["ttft"].start_ns.append(asked)
        self.phases["ttft"].duration_ns.append(first_token - asked)
        self.phases["generate"].start_ns.append(asked)
        self.phases["generate"].duration_ns.append(answered - asked)
        return answered - asked
