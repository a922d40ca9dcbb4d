"""A loaded model as the scenarios see it, whatever runtime is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.protocol import Describe, Event, Loaded
from harness.scenarios.queries import Series

Execute = Callable[[Sequence[Any]], Sequence[Any]]
Arrange = Callable[[Sequence[Any]], Sequence[Any]]


def as_given(inputs: Sequence[Any]) -> Sequence[Any]:
    """What a program takes that takes its inputs one by one."""
    return inputs


class Probe(Protocol):
    """What a device that is not the processor says beside the host's clock."""

    def clear(self) -> None:
        """What follows is measured."""
        ...

    def measured(self, phases: Mapping[str, Series]) -> Iterable[Event]:
        """What the device says of the queries since `clear`, whose durations are in `phases`."""
        ...

    def beside(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """`emit`, with the device's state beside the host's wherever that is told."""
        ...


@dataclass(frozen=True)
class Model:
    """`execute` runs the method that is timed: inputs in, outputs out, nothing of ours in between.

    `all_logits`, where the model has one, maps tokens int64 [1, T] to the logits float32 [1, T, vocabulary] of every
    position, and `window` is its T. `probe` is that of the device, where it is not the processor. `arrange` makes of a
    flat list of inputs what `execute` takes, before anything is timed: a program may want them by keyword, or in a
    dictionary.
    """

    description: Describe
    loaded: Loaded
    execute: Execute
    all_logits: Execute | None = None
    window: int | None = None
    probe: Probe | None = None
    arrange: Arrange = as_given
