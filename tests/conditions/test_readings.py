"""Reading this machine, and the fingerprint of what must match."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.conditions import host
from harness.conditions.host import read_host
from harness.conditions.readings import Reading, fingerprint

TEXT = st.text(max_size=8)
READINGS = st.lists(
    st.builds(Reading, TEXT, st.none() | TEXT, st.none(), st.booleans()), max_size=6, unique_by=lambda r: r.name
)
VERSIONS = st.dictionaries(st.sampled_from(["torch", "executorch", "python"]), TEXT, max_size=3)


@given(READINGS, VERSIONS, st.data())
def test_a_fingerprint_changes_with_what_identifies_the_machine_and_with_nothing_else(
    readings: list[Reading], versions: dict[str, str], data: st.DataObject
) -> None:
    before = fingerprint(readings, versions)
    assert fingerprint(reversed(readings), dict(reversed(versions.items()))) == before
    if readings:
        at = data.draw(st.integers(0, len(readings) - 1))
        old = readings[at]
        new = data.draw((st.none() | TEXT).filter(lambda value: value != old.value))
        changed = [*readings[:at], replace(old, value=new), *readings[at + 1 :]]
        assert (fingerprint(changed, versions)[0] != before[0]) == old.identity
        other_reason = [*readings[:at], replace(old, reason="another"), *readings[at + 1 :]]
        assert fingerprint(other_reason, versions) == before


@given(READINGS, VERSIONS, st.sampled_from(["torch", "executorch"]), TEXT)
def test_a_fingerprint_changes_with_every_version(
    readings: list[Reading], versions: dict[str, str], name: str, version: str
) -> None:
    changed = versions | {name: version}
    assert (fingerprint(readings, changed)[0] == fingerprint(readings, versions)[0]) == (changed == versions)


def test_a_fingerprint_says_what_it_was_made_of() -> None:
    readings = [
        Reading("cpu_model", "Fake", identity=True),
        Reading("governor", None, "none", identity=True),
        Reading("load", "1"),
    ]
    short, text = fingerprint(readings, {"torch": "2.13"})
    assert json.loads(text) == {"cpu_model": "Fake", "governor": None, "version.torch": "2.13"}
    assert len(short) == 16
    assert short.strip("0123456789abcdef") == ""


def test_this_machine_can_be_read() -> None:
    readings = {reading.name: reading for reading in read_host()}
    for reading in readings.values():
        assert (reading.value is None) == bool(reading.reason)
        assert reading.value != ""
    for name in (
        "machine",
        "system",
        "cpu_model",
        "logical_cpus",
        "memory_total_bytes",
        "clock_s",
        "cpu_busy_s",
        "harness_cpu_s",
    ):
        assert readings[name].value is not None
    assert {name for name, reading in readings.items() if reading.identity} == {
        "machine",
        "system",
        "cpu_model",
        "vector_extensions",
        "instruction_sets",
        "logical_cpus",
        "hypervisor",
        "frequency_governor",
    }


def test_counters_only_grow_and_the_identity_stays() -> None:
    first, second = read_host(), read_host()
    assert fingerprint(first, {}) == fingerprint(second, {})
    for name in ("clock_s", "cpu_busy_s", "harness_cpu_s"):
        then, now = (float(next(r.value or "" for r in readings if r.name == name)) for readings in (first, second))
        assert now >= then


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (FileNotFoundError(2, "No such file"), "No such file"),
        (AttributeError("cpu_freq"), "not offered"),
        (NotImplementedError(), "NotImplementedError"),
        (LookupError("no sensor"), "no sensor"),
    ],
)
def test_what_cannot_be_read_is_null_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(host, "_temperature", fail)
    reading = next(reading for reading in read_host() if reading.name == "temperature_celsius")
    assert reading.value is None
    assert reason in str(reading.reason)
