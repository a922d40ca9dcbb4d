"""One job whose worker does not do its work: a row that says what happened, and no process is left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.attempts import attempt, failed, row_of
from fakes.processes import ends, pid_in
from fakes.target import DONE, GOOD, HANG, HELLO, FakeTarget, fails, samples, say

from harness.errors import WorkerError
from harness.job import Files, Job
from harness.measurement import Measurement
from harness.protocol import Progress, Scalar
from harness.targets.transports import local
from harness.targets.transports.local import LocalProcess

pytestmark = pytest.mark.usefixtures("little_grace")


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
