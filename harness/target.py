"""What the core asks of a target, and how it finds one: by the entry-point group `harness.targets`.

A target is a worker and a way to start it beside the model. It declares what it can measure; scenarios and reports
ask these capabilities and never test a name. A third party adds a target with an entry point of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from inspect import signature
from typing import Literal, Protocol, runtime_checkable

from harness.conditions.readings import Reading
from harness.energy.source import Missing, Source
from harness.errors import UsageError
from harness.job import Files, Job

GROUP = "harness.targets"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a target can measure. `latency` says what its durations are; None: it has none. `formats` are file
    suffixes it loads. `energy`: it knows where to ask for joules (`Powered` says what answers here).
    `static_shapes`: it compiles programs whose sizes are all known, as `harness models build NAME --format static`
    makes them. `device_time`: the device's own time of each call is recorded beside the host's. `reads_alone`: of the
    flash scenario it makes the reads, those of a run elsewhere, and computes nothing. `precisions` are those that it
    can be asked to compute in, `runtimes` the names of what loads its models, where it has a choice
    (`harness.runtime`). `profiled_formats` are those whose operators it times though their runtime does not.
    `python_worker`: its worker can run in an interpreter that the user names (`Files.python`).
    """

    formats: tuple[str, ...]
    latency: Literal["measured", "emulated", "estimated"] | None
    scenarios: tuple[str, ...]
    memory: bool = False
    io_counters: bool = False
    pinning: bool = False
    per_operator: bool = False
    instructions: bool = False
    energy: bool = False
    static_shapes: bool = False
    device_time: bool = False
    reads_alone: bool = False
    precisions: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    profiled_formats: tuple[str, ...] = ()
    python_worker: bool = False


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used here; if not, why and what to install or attach."""

    available: bool
    reason: str = ""
    todo: str = ""


class WorkerProcess(Protocol):
    """A worker that was started."""

    def lines(self, timeout_s: float) -> Iterator[str]:
        """Its standard output, line by line. Raises WorkerError of kind `timeout` when it takes longer in all."""
        ...

    def close(self) -> int | None:
        """Let it end, kill it if it does not; its exit code, negative for a signal, None if there is none to know."""
        ...

    def kill(self) -> int | None:
        """End it now, with whatever it started; its exit code as for `close`."""
        ...

    def stderr_tail(self) -> str:
        """The last few kilobytes of its standard error."""
        ...


class Target(Protocol):
    """A place where models run."""

    name: str
    summary: str
    capabilities: Capabilities

    def availability(self) -> Availability:
        """Whether it can be used here and now; quick, without starting a worker."""
        ...

    def device(self) -> str:
        """A name for the device, to hold a lease on and to record."""
        ...

    def launch(self, job: Job, files: Files) -> WorkerProcess:
        """Start a worker on a job."""
        ...

    def environment(self) -> list[Reading]:
        """The device's identity and its state at this moment."""
        ...


@runtime_checkable
class Conditioned(Protocol):
    """What a target may have beside: conditions that its user wants of the device."""

    @property
    def cpus(self) -> tuple[int, ...] | None:
        """The processors to pin a worker to where the command line names none."""
        ...

    def prepare(self, on_wait: Callable[[int, int], None] | None = None) -> None:
        """Bring the device into the state that is wanted, before it is read for a job. `on_wait` is given how far that
        has come. What cannot be had is left to the flags.
        """
        ...


@runtime_checkable
class Powered(Protocol):
    """What a target may have beside: a way to know what its device draws."""

    def energy(self) -> Source | Missing:
        """The best source there is here and now, or why there is none. Raises WorkerError where the device does not
        answer.
        """
        ...


@runtime_checkable
class Adjustable(Protocol):
    """What a target may have beside: settings of the device, held for the time of a session."""

    def adjusted(self) -> AbstractContextManager[None]:
        """Bring the settings that its user asked for to the device, check them, and put them back at the end of the
        block. Raises UsageError where they cannot be had.
        """
        ...


def target_names() -> list[str]:
    """The names of all installed targets, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_target(name: str, **chosen: str) -> Target:
    """The target of that name. `chosen` are its `device`, `runtime` or `clock`, where its class takes them. Raises
    UsageError listing the others when there is none, when it cannot be imported, or when it has no such choice.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UsageError(
            f"There is no target {name!r}.", f"Choose one of: {', '.join(sorted(points))} (`harness targets`)."
        )
    try:
        kind = points[name].load()
        if refused := [option for option in chosen if option not in signature(kind).parameters]:
            raise UsageError(f"Target {name} has no choice of {refused[0]}.", f"Leave out --{refused[0]}.")
        target: Target = kind(**chosen)
    except UsageError:
        raise
    except Exception as error:  # somebody else's code: whatever it raises, the other targets work
        raise UsageError(
            f"Target {name!r} cannot be loaded ({error}).", "`harness targets` says what it needs."
        ) from error
    return target
