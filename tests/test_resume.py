"""Going on where a session was cut short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.jobs import make_subject
from fakes.target import READINGS, FakeTarget

from harness.conditions.readings import Reading
from harness.experiment.plan import Subject, configurations, passes
from harness.experiment.resume import resume
from harness.experiment.session import Session, open_session
from harness.job import Job
from harness.store.dataset import read_table

pytestmark = pytest.mark.usefixtures("unsynced")

OTHER_MACHINE = (Reading("cpu_model", "Fake 4000", identity=True), *READINGS[1:])


@pytest.fixture
def subjects(tmp_path: Path) -> dict[str, Subject]:
    return {name: make_subject(tmp_path, name) for name in ("base", "small")}


def plan(subjects: dict[str, Subject]) -> list[Job]:
    latency = [job for subject in subjects.values() for job in configurations(subject, "fake", None, {}, {})]
    return passes(latency, 3, subjects, memory=False)


def run(results: Path, jobs: Sequence[Job], subjects: dict[str, Subject]) -> Session:
    with open_session(FakeTarget(), results, 20.0) as session:
        list(session.run_all(jobs, subjects, None))
    return session


def going_on(results: Path, jobs: list[Job], readings: Sequence[Reading] = READINGS) -> tuple[Session, list[Job]]:
    """A session of another day, on these readings, and the jobs that it has to do."""
    target = FakeTarget(readings=readings)
    with open_session(target, results, 20.0) as session:
        session.fingerprints = set(run_fingerprints(results)) if readings is READINGS else {"another"}
        return session, resume(session, results, jobs)


def run_fingerprints(results: Path) -> list[str]:
    found: list[str] = read_table(results, "runs")["fingerprint"].tolist()
    return found


def latency(jobs: Sequence[Job]) -> list[tuple[str, int]]:
    return [(job.model, job.block) for job in jobs if job.measure == "latency"]


def test_what_ended_well_is_not_run_again_and_the_session_goes_on(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    first = run(results, jobs[:4], subjects)
    session, left = going_on(results, jobs)
    assert session.session_id == first.session_id
    assert session.position == 4
    assert session.succeeded == 4
    assert left == jobs[4:]


def test_a_block_that_was_cut_runs_again_so_that_its_models_are_neighbours(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    run(results, jobs[:3], subjects)
    session, left = going_on(results, jobs)
    assert session.succeeded == 2
    assert latency(left) == [("small", 1), ("base", 1), ("base", 2), ("small", 2)]


def test_a_model_that_is_added_later_makes_no_other_run_again(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    run(results, [job for job in jobs if job.model == "base" and job.measure == "latency"], subjects)
    assert latency(going_on(results, jobs)[1]) == [("small", 0), ("small", 1), ("small", 2)]


def test_positions_and_tables_are_those_of_one_session(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = [job for job in plan(subjects) if job.measure == "latency"], tmp_path / "results"
    run(results, jobs[:2], subjects)
    with open_session(FakeTarget(), results, 20.0) as session:
        session.fingerprints = set(run_fingerprints(results))
        list(session.run_all(resume(session, results, jobs), subjects, None))
    runs = read_table(results, "runs").sort_values("position")
    assert runs["job_id"].tolist() == [job.job_id for job in jobs]
    assert runs["position"].tolist() == list(range(len(jobs)))
    assert runs["session_id"].nunique() == 1
    again, left = going_on(results, jobs)
    assert (left, again.succeeded) == ([], len(jobs))


def test_the_newest_session_is_the_one_that_goes_on(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    run(results, jobs[:4], subjects)
    newest = run(results, jobs[:2], subjects)
    session, left = going_on(results, jobs)
    assert session.session_id == newest.session_id
    assert latency(left) == latency(jobs[2:])


def test_another_machine_or_version_begins_anew(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    first = run(results, jobs[:3], subjects)
    session, left = going_on(results, jobs, OTHER_MACHINE)
    assert session.session_id != first.session_id
    assert (session.position, session.succeeded, left) == (0, 0, jobs)


def test_another_device_of_the_same_kind_begins_anew(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    class Other(FakeTarget):
        def device(self) -> str:
            return "the fake device beside it"

    jobs, results = plan(subjects), tmp_path / "results"
    run(results, jobs[:3], subjects)
    with open_session(Other(), results, 20.0) as session:
        session.fingerprints = set(run_fingerprints(results))
        assert resume(session, results, jobs) == jobs


def test_other_options_are_other_jobs(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    run(results, jobs[:3], subjects)
    longer = [replace(job, min_duration_s=9.0) for job in jobs]
    assert going_on(results, longer)[1] == longer


def test_an_empty_folder_has_nothing_to_go_on_with(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs = plan(subjects)
    assert going_on(tmp_path / "results", jobs)[1] == jobs


def test_a_reference_runs_again_for_those_that_deviate_from_it(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs, results = plan(subjects), tmp_path / "results"
    quality = [job for job in jobs if job.measure == "quality"]
    assert [job.model for job in quality] == ["base", "small"]
    done = [job for job in jobs if job != quality[1]]
    run(results, done, subjects)
    assert going_on(results, jobs)[1] == quality
    run(results, jobs, subjects)
    assert going_on(results, jobs)[1] == []
