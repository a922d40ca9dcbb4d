"""One job, whatever its worker does: it ends with a row that says what happened, and no process is left behind."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.jobs import make_job
from fakes.processes import alive, ends, pid_in
from fakes.target import CAPABILITIES, DONE, GOOD, HANG, HELLO, READINGS, FakeTarget, Script, fails, samples, say

from harness.conditions.readings import Reading
from harness.errors import WorkerError
from harness.job import Files, Job, parse_request
from harness.manifest import Manifest
from harness.measurement import Measurement
from harness.protocol import Environment, Loaded, Progress, Scalar
from harness.runner import Attempt, run_job
from harness.store.schemas import TABLES
from harness.targets.transports import local
from harness.targets.transports.local import LocalProcess

FILES = Files(model="m.fake")


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not end by itself is not waited for as long as a real one."""
    monkeypatch.setattr(local, "_GRACE_S", 0.2)


def attempt(script: Script | FakeTarget, job: Job | None = None, *, timeout_s: float = 20.0, **more: Any) -> Attempt:
    """Run one job and check what holds however it went."""
    target = script if isinstance(script, FakeTarget) else FakeTarget(script)
    made = run_job(
        target, job or make_job(), FILES, session_id="s", position=3, timeout_s=timeout_s, model_bytes=7, **more
    )
    assert set(made.tables) == set(TABLES)
    for name, table in made.tables.items():
        assert table.schema.equals(TABLES[name])
        assert set(table["attempt_id"].to_pylist()) <= {made.attempt_id}
    row = row_of(made)
    assert row["status"] == made.status
    assert (row["error_kind"] is None) == (row["error_message"] is None) == (made.status == "ok")
    assert row["finished_at"] >= row["started_at"]
    for process in target.processes:
        assert not alive(process._process.pid)
    return made


def row_of(made: Attempt) -> dict[str, Any]:
    """The one row of `runs`."""
    (row,) = made.tables["runs"].to_pylist()
    return row


def failed(script: Script | FakeTarget, kind: str, **more: Any) -> dict[str, Any]:
    """The row of a job that must fail with that kind."""
    made = attempt(script, **more)
    assert made.status == "failed"
    assert isinstance(made.error, WorkerError)
    assert made.error.kind == kind
    assert made.error.what.endswith(".")
    assert made.error.todo
    row = row_of(made)
    assert row["error_kind"] == kind
    assert row["error_message"] == str(made.error)
    return row


# A worker that does its work.


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


# A worker that does not.


def test_an_error_is_recorded_in_the_workers_own_words() -> None:
    row = failed([HELLO, samples(5), {"stderr": "boom\n"}, fails("model", "It is damaged.", "Copy it again.")], "model")
    assert row["error_message"] == "It is damaged. Copy it again."
    assert row["stderr_tail"] == "boom\n"
    assert row["worker"] == "fake 1"


def test_what_was_measured_before_an_error_is_kept() -> None:
    made = attempt([HELLO, samples(5, 6), fails("runtime")])
    assert made.tables["samples"]["duration_ns"].to_pylist() == [5, 6]


@pytest.mark.parametrize("code", [0, 1, 42])
def test_an_end_without_a_last_word_is_a_failure_whatever_the_exit_code(code: int) -> None:
    row = failed([HELLO, samples(5), {"stderr": "why\n"}, {"exit": code}], "crashed")
    assert f"exited with code {code}" in row["error_message"]
    assert row["stderr_tail"] == "why\n"


def test_a_worker_that_says_nothing_at_all_is_a_failure() -> None:
    row = failed([], "crashed")
    assert row["worker"] is None


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_worker_that_is_killed_is_named_with_its_signal(name: str) -> None:
    row = failed([HELLO, samples(5), {"raise": name}], "crashed")
    assert f"killed by {name}" in row["error_message"]


def test_a_kill_points_to_the_kernel_and_a_crash_to_the_model() -> None:
    assert "out of memory" in failed([{"raise": "SIGKILL"}], "crashed")["error_message"]
    assert "damaged" in failed([{"raise": "SIGSEGV"}], "crashed")["error_message"]


def test_a_worker_killed_by_a_signal_without_a_name_is_recorded() -> None:
    assert "signal 40" in failed([HELLO, {"raise": 40}], "crashed")["error_message"]


def test_a_worker_that_hangs_is_ended_when_its_time_is_up() -> None:
    row = failed([HELLO, samples(5), HANG], "timeout", timeout_s=0.3)
    assert "0.3 s" in row["error_message"]
    assert "--timeout" in row["error_message"]


def test_a_worker_that_talks_for_ever_is_ended_too() -> None:
    talk = [say(Progress(done=i, total=100)) for i in range(100)]
    failed([HELLO, *(step for progress in talk for step in (progress, {"sleep": 0.02}))], "timeout", timeout_s=0.3)


@pytest.mark.parametrize(
    "last",
    [HANG, {"raise": "SIGSEGV"}, {"exit": 0}, {"print": "rubbish\n"}, DONE, fails("model")],
    ids=["hangs", "crashes", "exits", "rubbish", "done", "error"],
)
def test_what_a_worker_started_ends_with_it(tmp_path: Path, last: dict[str, Any]) -> None:
    made = attempt([HELLO, {"spawn": str(tmp_path / "pid")}, last], timeout_s=1.0)
    assert made.status == ("ok" if last is DONE else "failed")
    assert made.error is None or (made.error.kind == "timeout") == (last is HANG)
    assert ends(pid_in(tmp_path / "pid"))


@pytest.mark.parametrize(
    "rubbish", ["what?\n", "{}\n", '{"event":"dance"}\n', "\x00\x01\n", '{"event":"samples"}\n', "7\n"]
)
def test_rubbish_is_quoted_and_the_worker_ended(rubbish: str) -> None:
    row = failed([HELLO, samples(5), {"stderr": "hm\n"}, {"print": rubbish}, HANG], "protocol")
    assert repr(rubbish.strip("\n")) in row["error_message"]
    assert row["stderr_tail"] == "hm\n"


def test_bytes_that_are_no_text_are_rubbish_like_any_other(tmp_path: Path) -> None:
    class Binary(FakeTarget):
        def launch(self, job: Job, files: Files) -> LocalProcess:
            return LocalProcess(["printf", r"\377\376\n"], "{}", {})

    failed(Binary(), "protocol")


def test_half_a_line_is_rubbish() -> None:
    failed([HELLO, {"print": '{"event":"samples","phase":"st'}, {"exit": 0}], "protocol")


def test_a_line_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_LONGEST_LINE", 100_000)
    row = failed([HELLO, {"print": "x", "times": 200_000}, HANG], "protocol")
    assert "without end" in row["error_message"]


def test_another_protocol_fails_the_job_and_says_so() -> None:
    row = failed([{"emit": {**HELLO["emit"], "protocol": 2}}, HANG], "protocol")
    assert "protocol 2" in row["error_message"]


@pytest.mark.parametrize(
    "event",
    [
        {"event": "samples", "phase": "steady", "start_ns": [0], "duration_ns": [2**64]},
        {"event": "scalar", "name": "loss_nats", "value": float("nan")},
        {"event": "scalar", "name": "\ud800", "value": 1.0},
        {"event": "error", "kind": "model", "message": "\udfff"},
        {"event": "loaded", "program_ns": 2**53 + 1, "method_ns": 1, "program_bytes": 1, "planned_bytes": 1},
    ],
    ids=["beyond 64 bits", "nan", "half a character in a name", "half a character in an error", "beyond 53 bits"],
)
def test_an_event_that_cannot_be_stored_does_not_take_the_row_with_it(event: dict[str, Any]) -> None:
    made = attempt([HELLO, {"emit": event}, DONE])
    assert all(value == value for value in made.tables["scalars"]["value"].to_pylist())


@pytest.mark.parametrize("command", ["/no/such/worker", "/dev/null"])
def test_a_worker_that_cannot_be_started_is_a_failed_job(command: str) -> None:
    class Broken(FakeTarget):
        def launch(self, job: Job, files: Files) -> LocalProcess:
            return LocalProcess([command], "{}", {})

    row = failed(Broken(), "start")
    assert command in row["error_message"]
    assert row["stderr_tail"] is None


def test_a_worker_that_ends_before_it_reads_its_job_is_a_failed_job() -> None:
    class Deaf(FakeTarget):
        def launch(self, job: Job, files: Files) -> LocalProcess:
            return LocalProcess(
                [sys.executable, "-I", "-S", "-c", "import os; os.close(0); os._exit(5)"], "x" * 200_000, {}
            )

    assert "code 5" in failed(Deaf(), "crashed")["error_message"]


def test_only_the_end_of_a_long_standard_error_is_kept() -> None:
    row = failed([{"stderr": "é" * 10_000 + "the end"}, {"exit": 1}], "crashed")
    assert row["stderr_tail"].endswith("éthe end")
    assert len(row["stderr_tail"].encode()) <= 4200


def test_what_the_harness_finds_wrong_afterwards_fails_the_job_and_keeps_its_samples() -> None:
    def derive(measurement: Measurement) -> list[Scalar]:
        raise WorkerError("outputs", "They cannot be read.", "Free space.")

    made = attempt(GOOD, derive=derive)
    assert made.status == "failed"
    assert row_of(made)["error_kind"] == "outputs"
    assert made.tables["samples"].num_rows == 3


# Ctrl-C.


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


@contextmanager
def default_ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt here, whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_the_worker_works_is_an_interrupted_row_and_a_dead_worker(tmp_path: Path) -> None:
    made = attempt(
        [HELLO, {"spawn": str(tmp_path / "pid")}, samples(5), say(Progress(done=1, total=2)), HANG],
        on_progress=interrupt,
    )
    assert made.interrupted
    assert row_of(made)["error_kind"] == "interrupted"
    assert made.tables["samples"]["duration_ns"].to_pylist() == [5]
    assert ends(pid_in(tmp_path / "pid"))


def test_a_real_signal_while_waiting_does_the_same() -> None:
    with default_ctrl_c():
        made = attempt([HELLO, samples(5), {"interrupt": "SIGINT"}, HANG])
    assert made.status == "interrupted"


@pytest.mark.parametrize("last", [HANG, {"print": "rubbish\n"}, say(Progress(done=1, total=2))])
def test_nobody_waits_for_a_worker_that_is_given_up(monkeypatch: pytest.MonkeyPatch, last: dict[str, Any]) -> None:
    monkeypatch.setattr(LocalProcess, "close", lambda self: pytest.fail("waited"))
    made = attempt([HELLO, last, HANG], timeout_s=0.2 if last is HANG else 20.0, on_progress=interrupt)
    assert made.status in ("failed", "interrupted")


@pytest.mark.parametrize("last", ["close", "stderr_tail"])
def test_ctrl_c_after_the_last_word_loses_no_row(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    original: Callable[[LocalProcess], Any] = getattr(LocalProcess, last)
    calls: list[int] = []

    def interrupted_once(self: LocalProcess) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(LocalProcess, last, interrupted_once)
    try:
        assert attempt([*GOOD, HANG]).interrupted
    except KeyboardInterrupt:  # would end pytest itself
        pytest.fail("no row was made")
