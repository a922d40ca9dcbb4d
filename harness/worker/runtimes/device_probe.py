"""What the device itself says of the queries that were timed: its own time of each call, its memory, its state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from harness.protocol import Environment, Event, Samples, Scalar
from harness.scenarios.queries import Series
from harness.worker.runtimes.accelerator import Accelerator

_TEMPERATURE = "temperature_celsius"
# Phases each sample of which is one call of the model.
_CALLS = ("prefill", "decode", "steady", "batch")


class DeviceProbe:
    """Collects the device's time of every call since it was cleared; before that nothing is stored, so that hours of
    load take no memory.
    """

    def __init__(self, device: Accelerator) -> None:
        self._device = device
        self._calls_ns: list[int] | None = None

    def record(self, device_ns: int) -> None:
        """One call, in the order they are made."""
        if self._calls_ns is not None:
            self._calls_ns.append(device_ns)

    def clear(self) -> None:
        """What follows is measured."""
        self._calls_ns = []

    def measured(self, phases: Mapping[str, Series]) -> Iterator[Event]:
        """The device's time of the calls since `clear` that `phases` are the samples of, and the state it is in right
        after them, while it is still warm.
        """
        yield from self._device.state()
        yield from device_samples(phases, self._calls_ns or [])

    def adding_state(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """`emit`, with the device's clock, power and temperature added to the host's state during a long job; there too
        the temperature without an owner is the device's.
        """

        def emit_both(event: Event) -> None:
            if isinstance(event, Environment):
                host = [_renamed(reading) for reading in event.readings]
                event = replace(event, readings=host + [_reading(scalar) for scalar in self._device.state()])
            emit(event)

        return emit_both

    def memory(self, phase: str) -> Iterator[Scalar]:
        """The device's memory at the end of a phase, and the peaks within it."""
        for scalar in self._device.memory():
            yield replace(scalar, phase=phase)


def _renamed(reading: dict[str, str | None]) -> dict[str, str | None]:
    return reading | {"name": "host_temperature_celsius"} if reading["name"] == _TEMPERATURE else reading


def _reading(scalar: Scalar) -> dict[str, str | None]:
    name = _TEMPERATURE if scalar.name == f"device_{_TEMPERATURE}" else scalar.name
    return {"name": name, "value": None if scalar.value is None else f"{scalar.value:g}", "reason": scalar.reason}


def device_samples(phases: Mapping[str, Series], calls_ns: list[int]) -> list[Samples]:
    """`decode_device` next to `decode` and so on: durations by the device's clock, starts by the host's.

    The host's samples in the order they began are the calls in the order they were made. None where their numbers
    differ: then nobody knows which is which.
    """
    timed = {phase: series for phase, series in phases.items() if phase in _CALLS}
    order = sorted((start, phase) for phase, series in timed.items() for start in series.start_ns)
    if len(order) != len(calls_ns):
        return []
    of_device: dict[str, Series] = {phase: Series() for phase in timed}
    for (start_ns, phase), device_ns in zip(order, calls_ns, strict=True):
        of_device[phase].start_ns.append(start_ns)
        of_device[phase].duration_ns.append(device_ns)
    return [series.event(f"{phase}_device") for phase, series in of_device.items() if series.start_ns]
