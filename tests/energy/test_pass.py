"""The energy pass of a session: which jobs, from what source, and a recording that comes when all is over."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from energy.test_meter import WINDOW_S, Device, script
from fakes.jobs import make_job, make_subject
from fakes.target import CAPABILITIES, GOOD, FakeTarget

from harness.energy.source import Missing, Source
from harness.errors import UsageError, WorkerError
from harness.experiment import energy_pass as module
from harness.experiment.energy_pass import describe, energy_pass, settled
from harness.experiment.session import Session, open_session
from harness.job import Job
from harness.store.dataset import read_table
from harness.target import Powered

REAL = replace(CAPABILITIES, latency="measured")


def unheard(text: str) -> None:
    """Nobody listens."""


class PoweredTarget(FakeTarget):
    """A fake target that says where its energy comes from."""

    def __init__(self, answer: Source | Missing | WorkerError, *steps: Any) -> None:
        super().__init__(list(steps) or script(), capabilities=REAL)
        self._answer = answer

    def energy(self) -> Source | Missing:
        if isinstance(self._answer, WorkerError):
            raise self._answer
        return self._answer


def test_jobs_of_the_pass_are_as_long_as_their_source_needs_and_few() -> None:
    target = PoweredTarget(Device().source(window_s=90.0))
    assert isinstance(target, Powered)
    latency = [make_job(), make_job(batch=2, min_duration_s=200.0), make_job(scenario="cold-start")]
    source, jobs = energy_pass(target, None, latency, 5, unheard)
    assert isinstance(source, Source)
    assert [job.block for job in jobs] == [0, 0, 1, 1, 2, 2]
    assert {job.measure for job in jobs} == {"energy"}
    assert {(job.batch, job.min_duration_s, job.max_duration_s) for job in jobs} == {(1, 90.0, 90.0), (2, 200.0, 90.0)}


@pytest.mark.parametrize(
    ("target", "job", "why"),
    [
        (FakeTarget(), make_job(), "target fake has no source of energy"),
        (PoweredTarget(Missing("there is none", "Buy one.")), make_job(), "there is none"),
        (PoweredTarget(WorkerError("device", "It went away.", "Look for it.")), make_job(), "It went away"),
        (PoweredTarget(Device().source()), make_job(scenario="cold-start"), "cold-start has no window"),
        (
            PoweredTarget(Device().source()),
            make_job(scenario="server", latency_bound_ns=5),
            "server has no window",
        ),
    ],
)
def test_without_a_source_no_job_is_made_and_the_reason_is_told(target: FakeTarget, job: Job, why: str) -> None:
    source, jobs = energy_pass(target, None, [job], 5, unheard)
    assert jobs == []
    assert isinstance(source, Missing)
    assert why in source.reason


def test_a_target_says_where_its_energy_would_come_from() -> None:
    assert describe(PoweredTarget(Device().source()))["tier"] == "counter"
    said = describe(PoweredTarget(Missing("there is none", "Buy one.")))
    assert (said["source"], said["reason"], said["todo"]) == (None, "there is none", "Buy one.")


@pytest.mark.parametrize(
    ("text", "why"), [("time,mw\n", "must have columns"), ("time,watts\n7,5\n", "not in Unix seconds")]
)
def test_a_recording_that_cannot_be_one_is_refused_before_anything_runs(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "meter.csv").write_text(text)
    with pytest.raises(UsageError, match=why):
        energy_pass(PoweredTarget(Missing("")), tmp_path / "meter.csv", [make_job()], 1, unheard)
    with pytest.raises(UsageError, match="There is no folder"):
        energy_pass(PoweredTarget(Missing("")), tmp_path / "no" / "meter.csv", [make_job()], 1, unheard)
    with pytest.raises(UsageError, match="does not run here"):
        energy_pass(FakeTarget(), tmp_path / "meter.csv", [make_job()], 1, unheard)


@pytest.mark.parametrize(
    ("times", "window_s"),
    [
        ([], 10.0),
        ([0.0], 10.0),
        ([0.0, 0.1, 0.2], 10.0),
        ([0.0, 1.0, 2.0, 3.0, 60.0], 30.0),
        ([0.0, 60.0, 120.0], 300.0),
    ],
)
def test_a_window_has_enough_readings_of_the_meter_that_records_already(
    tmp_path: Path, times: list[float], window_s: float
) -> None:
    rows = "".join(f"{1_795_000_000 + at},5\n" for at in times)
    (tmp_path / "meter.csv").write_text(f"time,watts\n{rows}")
    source, jobs = energy_pass(PoweredTarget(Missing("")), tmp_path / "meter.csv", [make_job()], 1, unheard)
    assert isinstance(source, Source)
    assert [job.min_duration_s for job in jobs] == [pytest.approx(window_s)]


def scalars(results: Path, name: str) -> list[dict[str, Any]]:
    rows = read_table(results, "scalars")
    return rows[rows["name"] == name].to_dict("records")


def run(session: Session, folder: Path, jobs: list[Job], energy: Source | Missing | None) -> None:
    subject = make_subject(folder, "m")
    jobs = [replace(job, model_sha256=subject.sha256, min_duration_s=0.0) for job in jobs]
    for _ in session.run_all(jobs, {"m": subject}, None, None, energy):
        pass


@pytest.mark.usefixtures("unsynced")
def test_where_there_is_no_source_every_latency_process_says_why_at_no_cost(tmp_path: Path) -> None:
    target = PoweredTarget(Missing("no counter is visible"), *GOOD)
    with open_session(target, tmp_path / "results", 20.0) as session:
        source, jobs = energy_pass(target, None, [make_job()], 2, unheard)
        run(session, tmp_path, [make_job(), *jobs], source)
    assert [job.measure for job in target.launched] == ["latency"]
    (row,) = scalars(tmp_path / "results", "joules_per_query")
    assert row["value"] != row["value"]
    assert row["reason"] == "no counter is visible"


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_a_recording_is_waited_for_and_its_energy_stored(
    tmp_path: Path, after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    monkeypatch.setattr(module, "_SAY_EVERY_S", 0.1)
    sentences: list[str] = []
    target, file, begin = PoweredTarget(Missing("")), tmp_path / "meter.csv", time.time()
    source, jobs = energy_pass(target, file, [make_job()], 1, unheard)
    assert isinstance(source, Source)

    def export() -> None:
        moments = [begin + 0.01 * step for step in range(int((time.time() - begin) / 0.01) + 2)]
        (tmp_path / "part").write_text("time,watts\n" + "".join(f"{at:.3f},30\n" for at in moments))
        (tmp_path / "part").replace(file)

    with open_session(target, tmp_path / "results", 20.0) as session, settled(session, file, sentences.append):
        run(session, tmp_path, jobs, replace(source, window_s=WINDOW_S))
        assert len(session.held) == 1
        assert not (tmp_path / "results" / "runs").exists()
        (timer := threading.Timer(after_s, export)).start()
    timer.join()
    assert all(text.startswith(f"waiting for {file} to reach ") for text in sentences)
    if after_s:
        assert len(sentences) > 1, "who waits is reminded"
    (energy,) = scalars(tmp_path / "results", "energy_j")
    (power,) = scalars(tmp_path / "results", "power_w")
    assert (energy["value"], power["value"]) == (pytest.approx(30 * WINDOW_S), pytest.approx(30.0))
    assert "within the resolution" in scalars(tmp_path / "results", "net_joules_per_query")[0]["reason"]


@pytest.mark.usefixtures("unsynced")
def test_a_run_that_is_left_early_stores_what_was_held_and_does_not_wait(tmp_path: Path) -> None:
    target, file = PoweredTarget(Missing("")), tmp_path / "meter.csv"
    source, jobs = energy_pass(target, file, [make_job()], 1, unheard)
    assert isinstance(source, Source)

    def interrupted() -> None:
        with open_session(target, tmp_path / "results", 20.0) as session, settled(session, file, unheard):
            run(session, tmp_path, jobs, replace(source, window_s=0.1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (row,) = scalars(tmp_path / "results", "joules_per_query")
    assert "meter.csv cannot be read" in row["reason"]


def test_a_recording_that_is_not_there_yet_is_announced(tmp_path: Path) -> None:
    sentences: list[str] = []
    energy_pass(PoweredTarget(Missing("")), tmp_path / "meter.csv", [make_job()], 1, sentences.append)
    (sentence,) = sentences
    assert sentence.endswith("meter.csv is not there yet: when all has ended it is waited for, 10 min at most")
    (tmp_path / "meter.csv").touch()
    energy_pass(PoweredTarget(Missing("")), tmp_path / "meter.csv", [make_job()], 1, sentences.append)
    assert len(sentences) == 1
