"""What is done with a loaded model, in MLPerf's words: single-stream, offline; and generate (prefill, decode),
cold-start and flash.

A scenario is a function that asks one query and returns its durations; `measure` repeats it. Nothing but `execute`
lies between two readings of the clock. The clock is a parameter, so that all this is tested without time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.job import Job
from harness.protocol import Samples
from harness.statistics.steady import SteadyRule

Clock = Callable[[], int]
Execute = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True)
class Scenario:
    """`language_models`: needs the LLM convention. `repeats`: one process asks many queries. `in_flash`: needs a model
    whose feed-forward weights lie in flash. `summary` is for help texts.
    """

    name: str
    summary: str
    language_models: bool = False
    repeats: bool = True
    in_flash: bool = False


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("generate", "prefill a prompt, then decode token by token with the KV cache", language_models=True),
        Scenario("single-stream", "one query at a time: latency"),
        Scenario("offline", "batches back to back: throughput"),
        Scenario("cold-start", "load from storage and infer once, the file dropped from the page cache", repeats=False),
        Scenario("flash", "generate, feed-forward weights read from flash", language_models=True, in_flash=True),
    )
}


@dataclass
class Series:
    """Durations of one phase as they come in."""

    start_ns: list[int] = field(default_factory=list)
    duration_ns: list[int] = field(default_factory=list)

    def event(self, phase: str) -> Samples:
        """As the protocol says it."""
        return Samples(phase=phase, start_ns=self.start_ns, duration_ns=self.duration_ns)


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


class Tokens(Protocol):
    """The tensor side of generation, so that this file needs no torch: inputs of prompt and step, greedy choice."""

    def prompt(self) -> Sequence[Any]: ...

    def choose(self, outputs: Sequence[Any], position: int) -> Sequence[Any]: ...


class GenerateQuery:
    """Prefill, then `new_tokens - 1` decode steps, greedily: the first new token comes out of the prefill.

    Phases: `prefill` and `decode` time `execute` alone; `ttft` is the time to first token, from the query to the
    chosen token; `generate` the whole query, choosing tokens included.
    """

    def __init__(self, execute: Execute, tokens: Tokens, prompt_tokens: int, new_tokens: int, clock: Clock) -> None:
        self._execute, self._tokens, self._clock = execute, tokens, clock
        self._positions = range(prompt_tokens, prompt_tokens + new_tokens - 1)
        self.phases = {phase: Series() for phase in ("ttft", "prefill", "decode", "generate")}

    def __call__(self) -> int:
        execute, tokens, clock = self._execute, self._tokens, self._clock
        prefill, decode = self.phases["prefill"], self.phases["decode"]
        asked = clock()
        inputs = tokens.prompt()
        start = clock()
        outputs = execute(inputs)
        end = clock()
        prefill.start_ns.append(start)
        prefill.duration_ns.append(end - start)
        inputs = tokens.choose(outputs, self._positions.start)
        first_token = clock()
        for position in self._positions:
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


def warm_up(query: Query, max_warmup_s: float, clock: Clock, rule: SteadyRule) -> tuple[Series, bool]:
    """Ask until the rule finds the durations steady or the cap is reached; says which. The query's own series are
    emptied after.
    """
    warmup, cap_ns = Series(), int(max_warmup_s * 1e9)
    begin = clock()
    while not rule.steady and (not warmup.start_ns or clock() - begin < cap_ns):
        warmup.start_ns.append(clock())
        warmup.duration_ns.append(query())
        rule.add(warmup.duration_ns[-1])
    for series in query.phases.values():
        series.start_ns.clear()
        series.duration_ns.clear()
    return warmup, rule.steady


def repeat(query: Query, job: Job, clock: Clock) -> int:
    """Ask until both `min_iterations` and `min_duration_s` are reached, or `max_duration_s` is; returns the number of
    queries.

    The garbage collector is off meanwhile: a collection in the middle would be charged to one unlucky query.
    """
    least_ns, most_ns = int(job.min_duration_s * 1e9), int(job.max_duration_s * 1e9)
    gc.collect()
    gc.disable()
    try:
        begin, count = clock(), 0
        while True:
            elapsed = clock() - begin
            if (count >= job.min_iterations and elapsed >= least_ns) or (count and elapsed >= most_ns):
                return count
            query()
            count += 1
    finally:
        gc.enable()
