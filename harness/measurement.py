"""From a worker's events to tidy tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.protocol import (
    Answer,
    Describe,
    Environment,
    Event,
    Hello,
    Io,
    Loaded,
    Memory,
    Ops,
    Output,
    Samples,
    Scalar,
)

# pyarrow is imported when the first job has ended, not before the first worker starts.
if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Measurement:
    """What one worker has reported, sorted by kind. Nothing is computed here that a reader could compute. `texts` are
    the rows of the table `answers`: tokens, and text, which only the harness can make of them.
    """

    hello: Hello | None = None
    description: Describe | None = None
    settings: dict[str, str] = field(default_factory=dict)
    samples: list[Samples] = field(default_factory=list)
    scalars: list[tuple[str | None, Scalar]] = field(default_factory=list)
    io: list[Io] = field(default_factory=list)
    ops: list[Ops] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    environment: list[Environment] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take in one event; those that carry no result are ignored."""
        match event:
            case Hello():
                self.hello = event
            case Describe():
                self.description = event
            case Samples():
                self.samples.append(event)
            case Scalar():
                self.scalars.append((event.phase, event))
            case Loaded():
                self._add_loaded(event)
            case Memory():
                self._add_memory(event)
            case Io():
                self.io.append(event)
            case Ops():
                self.ops.append(event)
            case Output():
                self.outputs.append(event)
            case Environment():
                self.environment.append(event)
            case Answer():
                self.answers.append(event)
            case _:
                pass

    def scalar(self, name: str) -> float | None:
        """The value of a scalar of the whole job, None where it is absent or null."""
        return next((scalar.value for phase, scalar in self.scalars if phase is None and scalar.name == name), None)

    def _add_loaded(self, event: Loaded) -> None:
        self.settings = {str(name): str(value) for name, value in event.settings.items()}
        unplanned = None if event.planned_bytes is not None else "this runtime plans no arena ahead of time"
        untimed = None if event.method_ns is not None else "this target has no clock"
        self.scalars += [
            (None, Scalar(name="load_program_ns", value=event.program_ns, reason=untimed)),
            (None, Scalar(name="load_method_ns", value=event.method_ns, reason=untimed)),
            (None, Scalar(name="program_bytes", value=event.program_bytes)),
            (None, Scalar(name="planned_bytes", value=event.planned_bytes, reason=unplanned)),
        ]
        if event.sums_may_clip:
            self.scalars.append((None, Scalar(name="sums_may_clip", value=1.0)))

    def _add_memory(self, event: Memory) -> None:
        for name in ("peak_rss_bytes", "rss_bytes", "pss_bytes", "device_bytes"):
            value: int | None = getattr(event, name)
            if name == "device_bytes" and value is None:
                continue
            reason = None if value is not None else "this system does not say"
            self.scalars.append((event.phase, Scalar(name=name, value=value, reason=reason)))


def tables(attempt_id: str, measurement: Measurement, environment: Sequence[dict[str, Any]]) -> dict[str, pa.Table]:
    """Every table but `runs`, for one attempt. `environment` rows have moment, name, value and reason."""
    from harness.store.schemas import ANSWERS, ENVIRONMENT, IO, OPS

    return {
        "samples": _samples(attempt_id, measurement.samples),
        "scalars": scalar_table(attempt_id, measurement),
        "io": _rows(
            IO,
            attempt_id,
            [
                {
                    "phase": io.phase,
                    "asked_bytes": io.asked_bytes,
                    "read_bytes": io.read_bytes,
                    "major_faults": io.major_faults,
                }
                for io in measurement.io
            ],
        ),
        "ops": _rows(
            OPS,
            attempt_id,
            [
                {"operator": op.operator, "delegate": op.delegate, "calls": op.calls, "total_ns": op.total_ns}
                for op in measurement.ops
            ],
        ),
        "environment": _rows(ENVIRONMENT, attempt_id, environment),
        "answers": _rows(ANSWERS, attempt_id, measurement.texts),
    }


def scalar_table(attempt_id: str, measurement: Measurement) -> pa.Table:
    """The table `scalars` of one attempt."""
    from harness.store.schemas import SCALARS

    rows = [
        {
            "name": scalar.name,
            "phase": phase,
            "value": None if scalar.value is None else float(scalar.value),
            "reason": scalar.reason,
        }
        for phase, scalar in measurement.scalars
    ]
    return _rows(SCALARS, attempt_id, rows)


def run_table(row: dict[str, Any]) -> pa.Table:
    """The table `runs` of one attempt, from its only row; columns that are missing are null."""
    import pyarrow as pa

    from harness.store.schemas import RUNS

    return pa.Table.from_pylist([row], schema=RUNS)


def _samples(attempt_id: str, events: Sequence[Samples]) -> pa.Table:
    """Long form, built a phase at a time: a million samples must not become a million dictionaries."""
    import numpy as np
    import pyarrow as pa

    from harness.store.schemas import SAMPLES

    count_by_phase: Counter[str] = Counter()
    begins = []
    for event in events:
        begins.append(count_by_phase[event.phase])
        count_by_phase[event.phase] += len(event.start_ns)
    parts = [
        pa.table(
            {
                "attempt_id": pa.repeat(attempt_id, len(event.start_ns)),
                "phase": pa.repeat(event.phase, len(event.start_ns)),
                "iteration": pa.array(np.arange(begin, begin + len(event.start_ns), dtype=np.int32)),
                "start_ns": pa.array(event.start_ns, pa.int64()),
                "duration_ns": pa.nulls(len(event.start_ns), pa.int64())
                if event.duration_ns is None
                else pa.array(event.duration_ns, pa.int64()),
                "instructions": pa.nulls(len(event.start_ns), pa.int64())
                if event.instructions is None
                else pa.array(event.instructions, pa.int64()),
            },
            schema=SAMPLES,
        )
        for event, begin in zip(events, begins, strict=True)
    ]
    return pa.concat_tables(parts) if parts else SAMPLES.empty_table()


def _rows(schema: pa.Schema, attempt_id: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([{"attempt_id": attempt_id, **row} for row in rows], schema=schema)
