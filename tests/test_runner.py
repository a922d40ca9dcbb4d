"""One job whose worker does its work: a row with its samples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.attempts import FILES, attempt, row_of
from fakes.jobs import make_job
from fakes.target import CAPABILITIES, DONE, GOOD, HANG, HELLO, READINGS, FakeTarget, say

from harness.conditions.readings import Reading
from harness.job import parse_request
from harness.manifest import Manifest
from harness.measurement import Measurement
from harness.protocol import Environment, Loaded, Progress, Scalar

pytestmark = pytest.mark.usefixtures("little_grace")


def test_a_good_job_is_a_row_with_its_samples() -> None:
    job = make_job(block=2, threads=4, cpus=(0, 2), batch=8, measure="memory")
    made = attempt(GOOD, job)
    row = row_of(made)
    assert row["status"] == "ok"
    assert (row["job_id"], row["series_id"]) == (job.job_id, job.series_id)
    assert json.loads(row["job_json"])["batch"] == 8
    assert {
        key: row[key]
        for key in (
            "model",
            "block",
            "threads",
            "cpus",
            "batch",
            "measure",
            "session_id",
            "position",
            "model_bytes",
            "worker",
            "device",
            "latency_kind",
        )
    } == {
        "model": "m",
        "block": 2,
        "threads": 4,
        "cpus": "0,2",
        "batch": 8,
        "measure": "memory",
        "session_id": "s",
        "position": 3,
        "model_bytes": 7,
        "worker": "fake 1",
        "device": "fake device",
        "latency_kind": "estimated",
    }
    assert made.tables["samples"]["duration_ns"].to_pylist() == [1000, 1100, 900]
    assert made.date == row["started_at"].date().isoformat()


def test_a_row_says_when_it_began_and_ended_and_what_was_read_before_and_after() -> None:
    """The device is another after the job than before."""

    class Changing(FakeTarget):
        def environment(self) -> list[Reading]:
            return [Reading("launched", str(len(self.launched)))]

    made = attempt(Changing())
    row = row_of(made)
    assert row["started_at"] < row["finished_at"]
    read = made.tables["environment"].to_pylist()
    assert [(one["moment"], one["value"]) for one in read] == [("before", "0"), ("after", "1")]


def test_two_attempts_of_one_job_are_two_attempts() -> None:
    first, second = attempt(GOOD), attempt(GOOD)
    assert first.attempt_id != second.attempt_id
    assert row_of(first)["job_id"] == row_of(second)["job_id"]


def test_the_worker_is_given_the_job_and_its_files(tmp_path: Path) -> None:
    job = make_job(seed=5)
    attempt([{"request": str(tmp_path / "request")}, *GOOD], job)
    assert parse_request((tmp_path / "request").read_text()) == (job, FILES)


def test_what_was_not_measured_is_null_with_a_reason() -> None:
    made = attempt(
        [
            HELLO,
            say(Loaded(program_ns=1, method_ns=2, program_bytes=3, planned_bytes=None)),
            say(Scalar(name="energy_j", value=None, reason="no counter is visible")),
            DONE,
        ]
    )
    reasons = {row["name"]: row["reason"] for row in made.tables["scalars"].to_pylist() if row["value"] is None}
    assert set(reasons) == {"planned_bytes", "energy_j"}
    assert all(reasons.values())
    environment = made.tables["environment"].to_pylist()
    assert {(row["moment"], row["name"]) for row in environment} == {
        (moment, reading.name) for moment in ("before", "after") for reading in READINGS
    }
    assert all((row["value"] is None) == bool(row["reason"]) for row in environment)


@pytest.mark.parametrize("kind", ["measured", "emulated", "estimated", None])
def test_what_latencies_are_worth_is_what_the_target_declares(kind: Any) -> None:
    made = attempt(FakeTarget(capabilities=replace(CAPABILITIES, latency=kind)))
    assert row_of(made)["latency_kind"] == kind


def test_conditions_are_flagged_and_hashed() -> None:
    readings = [
        Reading("cpu_model", "Fake 3000", identity=True),
        Reading("frequency_governor", "powersave", identity=True),
    ]
    measured = replace(CAPABILITIES, latency="measured")
    row = row_of(attempt(FakeTarget(readings=readings, capabilities=measured)))
    assert set(row["flags"]) == {"governor_not_performance", "not_pinned", "frequency_unknown", "temperature_unknown"}
    assert json.loads(row["fingerprint_json"]) == {
        "cpu_model": "Fake 3000",
        "frequency_governor": "powersave",
        "version.fake": "1.0",
    }
    pinned = row_of(attempt(FakeTarget(readings=readings, capabilities=measured), make_job(cpus=(0,))))
    assert "not_pinned" not in pinned["flags"]
    assert pinned["fingerprint"] == row["fingerprint"]
    # Conditions of this machine say nothing of what was computed, not timed.
    assert row_of(attempt(FakeTarget(readings=readings)))["flags"] == []


def test_a_manifest_is_noted_and_its_absence_too() -> None:
    manifest = Manifest(
        name="m",
        method="pruning",
        artifact_sha256="0" * 64,
        artifact_bytes=1,
        precision="int8",
        parameters=5,
        parent="base",
        bits_per_weight=4.5,
        quality={"loss": 1.25},
    )
    row = row_of(attempt(GOOD, manifest=manifest))
    assert (row["method"], row["parent"], row["parameters"], row["bits_per_weight"], row["recorded_loss_nats"]) == (
        "pruning",
        "base",
        5,
        4.5,
        1.25,
    )
    assert row_of(attempt(GOOD))["method"] is None


def test_what_a_worker_reads_of_its_device_is_stored_with_its_moment_between_before_and_after() -> None:
    warm = {"name": "temperature_celsius", "value": "71.5"}
    cold = {"name": "temperature_celsius", "value": None, "reason": "no sensor"}
    told = [say(Environment(moment=f"minute {minute}", readings=[one])) for minute, one in enumerate((warm, cold), 1)]
    rows = attempt((HELLO, *told, DONE)).tables["environment"].to_pylist()
    assert [(row["moment"], row["value"], row["reason"]) for row in rows if row["moment"].startswith("minute")] == [
        ("minute 1", "71.5", None),
        ("minute 2", None, "no sensor"),
    ]
    assert [row["moment"] for row in rows][:: len(rows) - 1] == ["before", "after"]


def test_progress_reaches_whoever_waits_and_is_not_stored() -> None:
    seen: list[tuple[int, int]] = []
    made = attempt(
        [HELLO, say(Progress(done=1, total=4)), say(Progress(done=2, total=4)), *GOOD[1:]],
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4)]
    assert made.tables["scalars"].num_rows == 0


def test_what_only_the_harness_can_know_is_added() -> None:
    def derive(measurement: Measurement) -> list[Scalar]:
        return [Scalar(name="phases", value=float(len(measurement.samples)))]

    made = attempt(GOOD, derive=derive)
    assert made.tables["scalars"].to_pylist() == [
        {"attempt_id": made.attempt_id, "name": "phases", "phase": None, "value": 1.0, "reason": None}
    ]


def test_standard_error_of_a_good_job_is_not_kept_and_breaks_nothing() -> None:
    row = row_of(attempt([{"stderr": "chatter\n", "times": 20_000}, *GOOD]))
    assert (row["status"], row["stderr_tail"]) == ("ok", None)


def test_blank_lines_and_carriage_returns_are_no_rubbish() -> None:
    hello, done = (json.dumps(step["emit"]) for step in (HELLO, DONE))
    assert attempt([{"print": f"\n{hello}\r\n \n\n{done}\r\n"}]).status == "ok"


def test_a_last_line_without_its_newline_counts() -> None:
    assert attempt([HELLO, {"print": json.dumps(DONE["emit"])}]).status == "ok"


def test_a_line_longer_than_any_buffer_arrives_whole() -> None:
    zeros = {"print": "0,", "times": 200_000}
    made = attempt(
        [
            HELLO,
            {"print": '{"event":"samples","phase":"steady","start_ns":['},
            zeros,
            {"print": '0],"duration_ns":['},
            zeros,
            {"print": "0]}\n"},
            DONE,
        ]
    )
    assert made.tables["samples"].num_rows == 200_001


def test_what_follows_the_last_word_is_not_read() -> None:
    assert attempt([*GOOD, {"print": "bye\n"}, {"exit": 3}]).status == "ok"


def test_a_worker_that_lingers_after_its_last_word_is_ended() -> None:
    assert attempt([*GOOD, HANG]).status == "ok"
