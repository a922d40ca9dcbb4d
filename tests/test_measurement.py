"""From events to tables: nothing is lost on the way, and what a worker may say can be stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.target import say
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import WorkerError
from harness.measurement import Measurement, tables
from harness.protocol import (
    Describe,
    Done,
    Event,
    Hello,
    Io,
    Loaded,
    Memory,
    Ops,
    Output,
    Progress,
    Samples,
    Scalar,
    decode,
)
from harness.store.schemas import TABLES


def measured(*events: Event) -> Measurement:
    measurement = Measurement()
    for event in events:
        measurement.add(event)
    return measurement


def rows(name: str, *events: Event) -> list[dict[str, Any]]:
    """The rows of one table, without the id that all share."""
    made = tables("a1", measured(*events), []).get(name)
    assert made is not None
    found = made.to_pylist()
    assert {row.pop("attempt_id") for row in found} <= {"a1"}
    return found


def test_samples_become_a_row_each_phase_by_phase() -> None:
    found = rows(
        "samples",
        Samples(phase="first", start_ns=[5], duration_ns=[50]),
        Samples(phase="steady", start_ns=[10, 20], duration_ns=[7, 8], instructions=[70, 80]),
    )
    assert [tuple(row.values()) for row in found] == [
        ("first", 0, 5, 50, None),
        ("steady", 0, 10, 7, 70),
        ("steady", 1, 20, 8, 80),
    ]


def test_a_phase_that_is_told_minute_by_minute_is_one_series() -> None:
    found = rows(
        "samples",
        Samples(phase="sustained", start_ns=[1, 2], duration_ns=[7, 8]),
        Samples(phase="decode", start_ns=[3], duration_ns=[9]),
        Samples(phase="sustained", start_ns=[4], duration_ns=[6]),
    )
    assert [(row["phase"], row["iteration"], row["duration_ns"]) for row in found] == [
        ("sustained", 0, 7),
        ("sustained", 1, 8),
        ("decode", 0, 9),
        ("sustained", 2, 6),
    ]


def test_a_load_becomes_scalars_of_the_whole_job() -> None:
    found = rows("scalars", Loaded(program_ns=1, method_ns=2, program_bytes=3, planned_bytes=4))
    assert {row["name"]: row["value"] for row in found} == {
        "load_program_ns": 1.0,
        "load_method_ns": 2.0,
        "program_bytes": 3.0,
        "planned_bytes": 4.0,
    }
    assert {row["phase"] for row in found} == {row["reason"] for row in found} == {None}


def test_memory_becomes_scalars_of_its_phase() -> None:
    found = rows("scalars", Memory(phase="load", peak_rss_bytes=3, rss_bytes=2, pss_bytes=1, device_bytes=9))
    assert {row["name"]: row["value"] for row in found} == {
        "peak_rss_bytes": 3.0,
        "rss_bytes": 2.0,
        "pss_bytes": 1.0,
        "device_bytes": 9.0,
    }
    assert {row["phase"] for row in found} == {"load"}


@pytest.mark.parametrize(
    "event",
    [
        Loaded(program_ns=1, method_ns=2, program_bytes=3, planned_bytes=None),
        Memory(phase="load", peak_rss_bytes=None, rss_bytes=2, pss_bytes=None),
        Scalar(name="energy_j", value=None, reason="no counter is visible"),
    ],
)
def test_what_was_not_measured_is_null_and_says_why(event: Event) -> None:
    found = rows("scalars", event)
    assert any(row["value"] is None for row in found)
    assert all((row["value"] is None) == bool(row["reason"]) for row in found)


def test_a_target_without_device_memory_has_no_row_for_it() -> None:
    found = rows("scalars", Memory(phase="load", peak_rss_bytes=1, rss_bytes=1, pss_bytes=1))
    assert "device_bytes" not in {row["name"] for row in found}


def test_io_operators_and_environment_have_tables_of_their_own() -> None:
    measurement = measured(
        Io(phase="load", asked_bytes=5, read_bytes=None, major_faults=0),
        Ops(operator="aten::mm", delegate=None, calls=3, total_ns=99),
    )
    reading = {"moment": "before", "name": "machine", "value": None, "reason": "unknown"}
    made = {name: table.to_pylist() for name, table in tables("a1", measurement, [reading]).items()}
    assert made["io"] == [
        {"attempt_id": "a1", "phase": "load", "asked_bytes": 5, "read_bytes": None, "major_faults": 0}
    ]
    assert made["ops"] == [{"attempt_id": "a1", "operator": "aten::mm", "delegate": None, "calls": 3, "total_ns": 99}]
    assert made["environment"] == [{"attempt_id": "a1", **reading}]


def test_a_worker_that_said_nothing_gives_empty_tables_of_the_right_shape() -> None:
    made = tables("a1", Measurement(), [])
    assert set(made) == set(TABLES) - {"runs"}
    for name, table in made.items():
        assert table.num_rows == 0
        assert table.schema.equals(TABLES[name])


def test_what_is_no_result_is_kept_apart() -> None:
    hello, description = (
        Hello(protocol=1, worker="w", versions={}),
        Describe(format="pte", methods=[], metadata={}, delegates=[]),
    )
    output = Output(file="o.npz", sha256="0")
    measurement = measured(hello, description, output, Progress(done=1, total=2), Done())
    assert (measurement.hello, measurement.description, measurement.outputs) == (hello, description, [output])
    assert all(table.num_rows == 0 for table in tables("a1", measurement, []).values())


def test_a_scalar_is_found_by_name_in_the_whole_job_only() -> None:
    measurement = measured(
        Memory(phase="load", peak_rss_bytes=3, rss_bytes=2, pss_bytes=1),
        Scalar(name="queries", value=30.0),
        Scalar(name="unknown", value=None, reason="why"),
    )
    assert measurement.scalar("queries") == 30.0
    assert measurement.scalar("rss_bytes") is measurement.scalar("unknown") is measurement.scalar("absent") is None


ODD = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**400]),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.sampled_from(["\ud800", "a\x00b", "é", ""]),
    st.lists(st.integers(0, 2**65), max_size=3),
)
STORED: dict[str, Event] = {
    event.event: event
    for event in (
        Hello(protocol=1, worker="w", versions={"v": "1"}),
        Samples(phase="p", start_ns=[1], duration_ns=[1], instructions=[1]),
        Loaded(program_ns=1, method_ns=1, program_bytes=1, planned_bytes=1),
        Scalar(name="n", value=1.0, reason=None),
        Memory(phase="p", peak_rss_bytes=1, rss_bytes=1, pss_bytes=1, device_bytes=1),
        Ops(operator="o", delegate="d", calls=1, total_ns=1),
        Io(phase="p", asked_bytes=1, read_bytes=1, major_faults=1),
    )
}


@pytest.mark.parametrize("kind", list(STORED))
@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_taken_from_a_worker_can_be_stored(kind: str, data: st.DataObject) -> None:
    raw = say(STORED[kind])["emit"]
    name = data.draw(st.sampled_from(sorted(set(raw) - {"event"})))
    value = data.draw(ODD)
    changes: dict[str, Any] = {name: value}
    if kind == "samples" and isinstance(value, list):
        changes = dict.fromkeys(("start_ns", "duration_ns", "instructions"), value)
    try:
        event = decode(json.dumps(raw | changes))
    except WorkerError:
        return
    for table in tables("a1", measured(event), []).values():
        for column in table.columns:
            assert all(value == value for value in column.to_pylist()), "NaN must not be stored"
