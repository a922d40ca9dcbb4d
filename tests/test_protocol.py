"""What a worker may say, and what happens to everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fakes.target import say
from hypothesis import given
from hypothesis import strategies as st

from harness import protocol
from harness.errors import WorkerError
from harness.protocol import (
    PROTOCOL,
    Answer,
    Describe,
    Done,
    Environment,
    Error,
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
    encode,
)

TEXT = st.text(max_size=20)
BYTES = st.integers(0, 2**62)
MAYBE = st.none() | BYTES
PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
OBJECTS = st.dictionaries(TEXT, PLAIN | st.lists(PLAIN, max_size=3), max_size=4)


@st.composite
def samples_events(draw: st.DrawFn) -> Samples:
    length = draw(st.integers(0, 6))
    arrays = [draw(st.lists(BYTES, min_size=length, max_size=length)) for _ in range(3)]
    return Samples(
        phase=draw(TEXT),
        start_ns=arrays[0],
        duration_ns=arrays[1] if draw(st.booleans()) else None,
        instructions=arrays[2] if draw(st.booleans()) else None,
    )


BY_KIND: dict[type[Event], st.SearchStrategy[Any]] = {
    Hello: st.builds(
        Hello, protocol=st.just(PROTOCOL), worker=TEXT, versions=st.dictionaries(TEXT, TEXT, max_size=3), device=OBJECTS
    ),
    Describe: st.builds(
        Describe,
        format=TEXT,
        methods=st.lists(OBJECTS, max_size=3),
        metadata=OBJECTS,
        delegates=st.lists(TEXT, max_size=3),
    ),
    Loaded: st.builds(Loaded, program_ns=MAYBE, method_ns=MAYBE, program_bytes=BYTES, planned_bytes=MAYBE),
    Samples: samples_events(),
    Memory: st.builds(Memory, phase=TEXT, peak_rss_bytes=MAYBE, rss_bytes=MAYBE, pss_bytes=MAYBE, device_bytes=MAYBE),
    Io: st.builds(Io, phase=TEXT, asked_bytes=MAYBE, read_bytes=MAYBE, major_faults=MAYBE),
    Ops: st.builds(Ops, operator=TEXT, delegate=st.none() | TEXT, calls=BYTES, total_ns=BYTES),
    Scalar: st.builds(
        Scalar,
        name=TEXT,
        value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        reason=st.none() | TEXT,
        phase=st.none() | TEXT,
    ),
    Environment: st.builds(
        Environment,
        moment=TEXT,
        readings=st.lists(
            st.fixed_dictionaries({"name": TEXT}, optional={"value": st.none() | TEXT, "reason": st.none() | TEXT}),
            max_size=3,
        ),
    ),
    Output: st.builds(Output, file=TEXT, sha256=TEXT),
    Answer: st.builds(Answer, prompt=BYTES, tokens=st.lists(BYTES, max_size=3)),
    Progress: st.builds(Progress, done=BYTES, total=BYTES),
    Done: st.just(Done()),
    Error: st.builds(Error, kind=TEXT, message=TEXT, todo=TEXT),
}
EVENTS = st.one_of(list(BY_KIND.values()))

HELLO_LINE = encode(Hello(protocol=PROTOCOL, worker="w", versions={}))


def refused(line: str) -> WorkerError:
    """The error that `line` is answered with; it must be one a user can read."""
    with pytest.raises(WorkerError) as caught:
        decode(line)
    assert caught.value.kind == "protocol"
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def taken_or_refused(line: str) -> None:
    """What `decode` makes of a line must be an event, or a refusal of kind `protocol`; nothing else may come out."""
    try:
        decode(line)
    except WorkerError:
        refused(line)


def test_every_event_is_drawn_here() -> None:
    assert {kind.event for kind in BY_KIND} == set(protocol._EVENTS)


@pytest.mark.parametrize("kind", list(BY_KIND), ids=lambda kind: kind.event)
@given(data=st.data())
def test_an_event_comes_back_as_it_was(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(BY_KIND[kind])
    line = encode(event)
    assert "\n" not in line
    back = decode(line)
    assert type(back) is kind
    assert back == event


@pytest.mark.parametrize(
    "readings",
    [
        '["warm"]',
        "[{}]",
        '[{"name":3}]',
        '[{"name":"t","value":41.5}]',
        '[{"name":"t","reason":["hot"]}]',
        '[{"name":"\\ud800"}]',
    ],
)
def test_a_reading_that_is_no_text_with_a_name_is_refused(readings: str) -> None:
    assert "reading" in refused(f'{{"event":"environment","moment":"minute 1","readings":{readings}}}').message


@given(st.text())
def test_rubbish_is_refused(line: str) -> None:
    refused(line)


JSON = st.recursive(
    PLAIN | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_json_that_is_no_event_is_refused(value: Any) -> None:
    refused(json.dumps(value))


@given(EVENTS, st.data())
def test_an_event_with_another_character_is_an_event_or_refused(event: Event, data: st.DataObject) -> None:
    line = encode(event)
    at = data.draw(st.integers(0, len(line) - 1))
    end = at + data.draw(st.integers(0, 2))
    mutated = line[:at] + data.draw(st.text('0159-.eE[]{}",:naull \\\x00é', max_size=2)) + line[end:]
    taken_or_refused(mutated)


@given(EVENTS, st.data())
def test_an_event_with_another_value_is_an_event_or_refused(event: Event, data: st.DataObject) -> None:
    raw = say(event)["emit"]
    raw[data.draw(st.sampled_from(sorted(raw)))] = data.draw(JSON)
    taken_or_refused(json.dumps(raw))


@pytest.mark.parametrize("kind", [kind for kind in BY_KIND if kind is not Done], ids=lambda kind: kind.event)
@given(data=st.data())
def test_an_event_that_lacks_a_field_is_refused(kind: type[Event], data: st.DataObject) -> None:
    raw = say(data.draw(BY_KIND[kind]))["emit"]
    optional = {"device", "instructions", "device_bytes", "reason", "todo", "external_data", "sums_may_clip"}
    optional |= {Scalar: {"phase"}, Loaded: {"settings"}}.get(kind, set())
    del raw[data.draw(st.sampled_from(sorted(set(raw) - optional - {"event"})))]
    assert "lacks a field" in refused(json.dumps(raw)).message


@given(EVENTS, st.dictionaries(st.text(min_size=1).map("x_".__add__), JSON, max_size=3))
def test_fields_of_a_newer_worker_are_ignored(event: Event, more: dict[str, Any]) -> None:
    assert decode(json.dumps(say(event)["emit"] | more)) == event


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol", True),
        ("protocol", "1"),
        ("protocol", 1.0),
        ("protocol", None),
        ("worker", 3),
        ("versions", []),
        ("device", "cpu"),
    ],
)
def test_a_field_of_another_type_is_named(name: str, value: Any) -> None:
    assert f"`{name}`" in refused(json.dumps(json.loads(HELLO_LINE) | {name: value})).message


@pytest.mark.parametrize("version", [2, 99, 0, -1])
def test_another_protocol_is_refused_with_both_versions(version: int) -> None:
    error = refused(json.dumps(json.loads(HELLO_LINE) | {"protocol": version}))
    assert f"protocol {version}" in error.message
    assert f"speaks {PROTOCOL}" in error.message
    assert "version" in error.hint


def test_another_protocol_is_named_even_if_its_hello_looks_different() -> None:
    assert "protocol 2" in refused('{"event":"hello","protocol":2,"software":{"python":"4"}}').message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_worker_cannot_say_numbers_that_json_lacks(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(Scalar(name="x", value=value))


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_value_that_is_no_number_is_refused(written: str) -> None:
    refused('{"event":"scalar","name":"loss_nats","value":' + written + "}")


@pytest.mark.parametrize(
    "arrays",
    [
        {"start_ns": [1], "duration_ns": []},
        {"start_ns": [1], "duration_ns": [1, 2]},
        {"start_ns": [1], "duration_ns": [1], "instructions": []},
    ],
)
def test_arrays_of_different_lengths_are_refused(arrays: dict[str, list[int]]) -> None:
    event = say(Samples(phase="steady", start_ns=[], duration_ns=[]))["emit"]
    assert "different lengths" in refused(json.dumps(event | arrays)).message


@pytest.mark.parametrize("array", ["start_ns", "duration_ns", "instructions"])
@pytest.mark.parametrize("value", [-1, 1.5, 1.0, "1", None, True, [1]])
def test_a_sample_that_is_no_count_is_refused(array: str, value: Any) -> None:
    event = say(Samples(phase="steady", start_ns=[1], duration_ns=[1], instructions=[1]))["emit"]
    refused(json.dumps(event | {array: [value]}))


@pytest.mark.parametrize("digits", [19, 400], ids="{} digits".format)
@pytest.mark.parametrize("array", ["start_ns", "duration_ns", "instructions"])
def test_a_sample_beyond_64_bits_is_refused(array: str, digits: int) -> None:
    event = say(Samples(phase="steady", start_ns=[1], duration_ns=[1], instructions=[1]))["emit"]
    refused(json.dumps(event | {array: [10**digits - 1]}))


def test_nesting_without_end_is_refused() -> None:
    refused("[" * 200_000)
    refused('{"event":"done","x":' + '{"a":' * 200_000)


def test_a_long_line_is_quoted_in_part() -> None:
    assert len(refused("x" * 100_000).message) < 200


def test_hello_without_a_device_is_complete() -> None:
    event = decode('{"event":"hello","protocol":1,"worker":"w","versions":{"torch":"2"}}')
    assert event == replace(Hello(protocol=1, worker="w", versions={"torch": "2"}), device={})
