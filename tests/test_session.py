"""Many jobs: what fails is skipped in time, the others go on, and every row is on disk as soon as its job has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fakes.jobs import make_subject
from fakes.target import DONE, GOOD, HANG, HELLO, FakeTarget, Script, fails, samples, say

from harness.errors import DataError, ModelError, NothingComparable, StoreError, UsageError
from harness.experiment.plan import Subject, configurations, interleave, passes
from harness.experiment.runner import Attempt
from harness.experiment.session import Session, open_session
from harness.job import Files, Job
from harness.protocol import Describe, Output, Progress
from harness.store.dataset import read_table, read_tables
from harness.targets.transports.local import LocalProcess

pytestmark = pytest.mark.usefixtures("unsynced")

CRASH: Script = (HELLO, samples(1), {"raise": "SIGSEGV"})
BROKEN: Script = (HELLO, fails("model", "It is damaged.", "Copy it again."))
FORWARD = {"name": "forward", "inputs": [], "outputs": []}
DESCRIBED = say(Describe(format="pte", methods=[FORWARD], metadata={"answer": 42}, delegates=["xnnpack"]))


@pytest.fixture
def subjects(tmp_path: Path) -> dict[str, Subject]:
    return {name: make_subject(tmp_path, name) for name in ("base", "small")}


def plan(subjects: dict[str, Subject], processes: int, *, memory: bool = False) -> list[Job]:
    """All jobs of the subjects with the options' defaults."""
    latency = [job for subject in subjects.values() for job in configurations(subject, "fake", None, {}, {})]
    return passes(latency, processes, subjects, memory=memory)


def run(
    folder: Path,
    script: Script | Callable[[Job, Files], Script],
    jobs: list[Job],
    subjects: dict[str, Subject],
) -> tuple[Session, list[Attempt | Job]]:
    """Run all jobs in a session of its own; results are in `folder`."""
    with open_session(FakeTarget(script), folder, 20.0) as session:
        return session, list(session.run_all(jobs, subjects, None))


def outcome(outcomes: list[Attempt | Job], model: str, measure: str = "latency") -> list[str]:
    """What became of the jobs of one model, in the order of its blocks."""
    ended = [(made, "skipped") if isinstance(made, Job) else (made.job, made.status) for made in outcomes]
    return [status for job, status in ended if (job.model, job.measure) == (model, measure)]


def test_every_job_is_run_in_order_and_stored(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    jobs = plan(subjects, 2, memory=True)
    session, outcomes = run(tmp_path / "results", GOOD, jobs, subjects)
    assert [made.job for made in outcomes if isinstance(made, Attempt)] == jobs
    assert (session.failed, session.skipped) == ([], [])
    runs = read_tables(tmp_path / "results").runs
    assert runs["job_id"].tolist() == [job.job_id for job in jobs]
    assert runs["position"].tolist() == list(range(len(jobs)))
    assert set(runs["status"]) == {"ok"}
    assert set(runs["session_id"]) == {session.session_id}
    assert set(runs["target"]) == {"fake"}
    assert runs["model_bytes"].tolist() == [len(job.model) for job in jobs]


@pytest.mark.parametrize("kind", ["model", "usage"])
def test_a_model_that_is_wrong_is_skipped_while_the_others_go_on(
    tmp_path: Path, subjects: dict[str, Subject], kind: str
) -> None:
    wrong = (HELLO, fails(kind))
    session, outcomes = run(
        tmp_path / "results", lambda job, _: wrong if job.model == "small" else GOOD, plan(subjects, 3), subjects
    )
    assert outcome(outcomes, "small") == ["failed", "skipped", "skipped"]
    assert outcome(outcomes, "base") == ["ok"] * 3
    assert outcome(outcomes, "small", "quality") == ["skipped"]
    assert [made.job.model for made in session.failed] == ["small"]
    runs = read_tables(tmp_path / "results").runs
    assert runs.loc[runs["model"] == "small", "error_kind"].tolist() == [kind]


def test_a_crash_is_believed_the_second_time(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    _, outcomes = run(
        tmp_path / "results", lambda job, _: CRASH if job.model == "small" else GOOD, plan(subjects, 5), subjects
    )
    assert outcome(outcomes, "small") == ["failed", "failed", "skipped", "skipped", "skipped"]
    assert outcome(outcomes, "base") == ["ok"] * 5


def test_a_batch_that_is_too_large_is_not_tried_again_and_smaller_ones_go_on(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    (latency,) = configurations(subjects["small"], "fake", None, {}, {})
    jobs = interleave([replace(latency, threads=threads) for threads in (1, 2)], 2)  # the fake model has one batch
    _, outcomes = run(
        tmp_path / "results", lambda job, _: (HELLO, fails("memory")) if job.threads == 2 else GOOD, jobs, subjects
    )
    ended = [(made, "skipped") if isinstance(made, Job) else (made.job, made.status) for made in outcomes]
    assert [(job.threads, what) for job, what in ended] == [(1, "ok"), (2, "failed"), (2, "skipped"), (1, "ok")]


def test_one_crash_costs_one_block_only(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    def script(job: Job, files: Files) -> Script:
        return CRASH if (job.model, job.block, job.measure) == ("small", 1, "latency") else GOOD

    session, outcomes = run(tmp_path / "results", script, plan(subjects, 4), subjects)
    assert outcome(outcomes, "small") == ["ok", "failed", "ok", "ok"]
    assert not session.skipped


def test_crashes_of_the_latency_pass_are_no_reason_against_the_quality_pass(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    _, outcomes = run(
        tmp_path / "results", lambda job, _: CRASH if job.measure != "quality" else GOOD, plan(subjects, 3), subjects
    )
    assert outcome(outcomes, "base") == ["failed", "failed", "skipped"]
    assert outcome(outcomes, "base", "quality") == ["ok"]


def test_rows_are_on_disk_when_their_job_ends_and_stay_when_the_next_is_interrupted(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    results, jobs = tmp_path / "results", plan(subjects, 2)

    def script(job: Job, files: Files) -> Script:
        return (HELLO, samples(9), say(Progress(done=1, total=2)), HANG) if job == jobs[2] else GOOD

    def ctrl_c(done: int, total: int) -> None:
        raise KeyboardInterrupt

    seen = []
    with open_session(FakeTarget(script), results, 20.0) as session:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - rows are looked at between jobs
            for _ in session.run_all(jobs, subjects, None, ctrl_c):
                tables = read_tables(results)
                seen.append((len(tables.runs), len(tables.samples)))
        scratch = session.scratch
    assert seen == [(1, 3), (2, 6)]
    tables = read_tables(results)
    assert tables.runs["status"].tolist() == ["ok", "ok", "interrupted"]
    assert tables.runs["job_id"].tolist() == [job.job_id for job in jobs[:3]]
    assert len(tables.samples) == 7
    assert not scratch.exists()


def test_a_results_folder_that_fails_ends_the_session_and_keeps_what_it_has(
    tmp_path: Path, subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, target = tmp_path / "results", FakeTarget()
    with open_session(target, results, 20.0) as session:
        running = session.run_all(plan(subjects, 3), subjects, None)
        next(running)
        session.results = subjects["base"].path / "results"
        with pytest.raises(StoreError):
            next(running)
    assert len(target.launched) == 2
    assert read_tables(results).runs["status"].tolist() == ["ok"]


def test_a_model_that_vanishes_is_a_failed_job_and_the_others_go_on(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    subjects["small"].path.unlink()
    _, outcomes = run(tmp_path / "results", GOOD, plan(subjects, 2), subjects)
    assert outcome(outcomes, "base") == ["ok", "ok"]


# Descriptions.


def test_a_description_is_given_and_leaves_no_row(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    target = FakeTarget((HELLO, DESCRIBED, DONE))
    with open_session(target, tmp_path / "results", 20.0) as session:
        described = session.describe("base", subjects["base"].path)
    assert described is not None
    sha256, description, manifest, data_file = described
    assert (sha256, description.metadata) == (subjects["base"].sha256, {"answer": 42})
    assert (manifest, data_file) == (None, None)
    assert [(job.measure, job.model_sha256) for job in target.launched] == [("describe", sha256)]
    with pytest.raises(NothingComparable):
        read_tables(tmp_path / "results")


@pytest.mark.parametrize(
    ("script", "kind"), [(CRASH, "crashed"), (BROKEN, "model"), ((HELLO, {"print": "?\n"}), "protocol")]
)
def test_a_description_that_fails_is_recorded(
    tmp_path: Path, subjects: dict[str, Subject], script: Script, kind: str
) -> None:
    with open_session(FakeTarget(script), tmp_path / "results", 20.0) as session:
        assert session.describe("base", subjects["base"].path) is None
    assert [made.error.kind for made in session.failed if made.error] == [kind]
    (row,) = read_table(tmp_path / "results", "runs").to_dict("records")
    assert (row["measure"], row["status"], row["error_kind"], row["model"]) == ("describe", "failed", kind, "base")


def test_a_worker_that_says_done_but_describes_nothing_has_failed(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    with open_session(FakeTarget((HELLO, DONE)), tmp_path / "results", 20.0) as session:
        assert session.describe("base", subjects["base"].path) is None
    assert len(session.failed) == 1


def test_a_manifest_of_another_file_is_recorded_as_a_failure_of_that_model(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    path = subjects["base"].path
    known = {
        "name": "base",
        "method": "x",
        "artifact_sha256": "0" * 64,
        "artifact_bytes": 1,
        "precision": "fp32",
        "parameters": 1,
        "manifest_version": 1,
    }
    path.with_name(path.name + ".json").write_text(json.dumps(known))
    with open_session(FakeTarget((HELLO, DESCRIBED, DONE)), tmp_path / "results", 20.0) as session:
        assert session.describe("base", path) is None
    (row,) = read_table(tmp_path / "results", "runs").to_dict("records")
    assert row["error_kind"] == "model"
    assert "not the file its manifest describes" in row["error_message"]


@pytest.mark.parametrize("name", ["absent.fake", ".", "n" * 300])
def test_a_file_that_cannot_be_read_is_a_failed_row_of_that_model(
    tmp_path: Path, subjects: dict[str, Subject], name: str
) -> None:
    target = FakeTarget((HELLO, DESCRIBED, DONE))
    with open_session(target, tmp_path / "results", 20.0) as session:
        assert session.describe("m", tmp_path / name) is None
        assert len(target.launched) == 0, "no worker is started for it"
        assert session.describe("base", subjects["base"].path) is not None
    (row,) = read_table(tmp_path / "results", "runs").to_dict("records")
    assert (row["model"], row["status"], row["error_kind"]) == ("m", "failed", "model")
    assert pd.isna(row["model_sha256"])
    assert "cannot be read" in row["error_message"]


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ([], "has no method that can be run"),
        ([{"inputs": [], "outputs": []}], "cannot be understood"),
        ([{"name": "forward", "inputs": []}], "cannot be understood"),
        ([{"name": "forward", "inputs": 7, "outputs": []}], "cannot be understood"),
        ([{"name": "forward", "inputs": [{}, {}], "outputs": []}], "cannot be understood"),
        ([7], "cannot be understood"),
    ],
    ids=str,
)
def test_a_description_that_nothing_can_be_planned_from_is_a_failed_row_of_that_model(
    tmp_path: Path, subjects: dict[str, Subject], methods: list[Any], words: str
) -> None:
    said = say(Describe(format="pte", methods=methods, metadata={"get_vocab_size": 9}, delegates=[]))

    def script(job: Job, files: Files) -> Script:
        return (HELLO, said if job.model == "base" else DESCRIBED, DONE)

    with open_session(FakeTarget(script), tmp_path / "results", 20.0) as session:
        assert session.describe("base", subjects["base"].path) is None
        assert session.describe("small", subjects["small"].path) is not None
    (row,) = read_table(tmp_path / "results", "runs").to_dict("records")
    assert (row["model"], row["error_kind"]) == ("base", "model")
    assert words in row["error_message"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (IndexError("list index out of range"), "harness"),
        (TypeError("Object of type Tensor is not JSON serializable"), "harness"),
        (OSError(28, "No space left on device"), "harness"),
        (ModelError("It is wrong.", "Mend it."), "model"),
        (UsageError("Not so.", "Otherwise."), "usage"),
        (DataError("No text.", "Give it."), "harness"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
@pytest.mark.parametrize("measure", ["describe", "latency"])
def test_whatever_fails_in_harness_for_a_model_costs_no_other_its_rows(
    tmp_path: Path, subjects: dict[str, Subject], measure: str, error: Exception, kind: str
) -> None:
    class Failing(FakeTarget):
        def launch(self, job: Job, files: Files) -> LocalProcess:
            if (job.model, job.measure) == ("base", measure):
                raise error
            return super().launch(job, files)

    target = Failing(lambda job, _: (HELLO, DESCRIBED, DONE) if job.measure == "describe" else GOOD)
    with open_session(target, tmp_path / "results", 20.0) as session:
        described = [name for name in subjects if session.describe(name, subjects[name].path)]
        assert described == (["small"] if measure == "describe" else ["base", "small"])
        outcomes = list(session.run_all(plan(subjects, 1), subjects, None)) if measure == "latency" else []
    rows = read_table(tmp_path / "results", "runs").to_dict("records")
    failed = [row for row in rows if row["status"] == "failed"]
    assert [(row["model"], row["measure"], row["error_kind"]) for row in failed] == [("base", measure, kind)]
    assert str(error) in failed[0]["error_message"]
    assert ("Traceback" in str(failed[0]["stderr_tail"])) == (kind == "harness" and type(error) is not DataError)
    assert measure == "describe" or outcome(outcomes, "small") == ["ok"]


# Deviation from the first model.


def outputs(values: dict[str, Any], name: str = "outputs.npz") -> Callable[[Job, Files], Script]:
    """Workers that leave one row of outputs in the quality pass: `values` by model, or none."""

    def script(job: Job, files: Files) -> Script:
        if job.measure != "quality" or job.model not in values:
            return GOOD
        assert files.output is not None
        path = Path(files.output) / name
        if isinstance(values[job.model], bytes):
            path.write_bytes(values[job.model])
        elif values[job.model] is not None:
            np.savez(path, output_0=np.array([values[job.model]], np.float32))
        return (HELLO, say(Output(file=str(path), sha256="0" * 64)), DONE)

    return script


def scalars_of(results: Path, model: str) -> dict[str, tuple[float | None, str | None]]:
    """Value and reason of every scalar of a model's quality pass."""
    runs, scalars = read_table(results, "runs"), read_table(results, "scalars")
    (attempt,) = runs.loc[(runs["model"] == model) & (runs["measure"] == "quality"), "attempt_id"]
    found = scalars[scalars["attempt_id"] == attempt]
    return {
        row["name"]: (None if np.isnan(row["value"]) else row["value"], row["reason"])
        for row in found.to_dict("records")
    }


def test_outputs_are_compared_with_those_of_the_first_model(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    run(tmp_path / "results", outputs({"base": [1.0, 2.0], "small": [1.5, 2.0]}), plan(subjects, 1), subjects)
    assert scalars_of(tmp_path / "results", "base") == {}
    found = scalars_of(tmp_path / "results", "small")
    assert found["max_abs_difference"][0] == 0.5
    assert found["sqnr_db"][0] == pytest.approx(10 * np.log10(5 / 0.25))
    assert found["argmax_agreement"][0] == 1.0


def test_without_outputs_of_the_first_model_there_is_a_null_with_its_reason(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    good = outputs({"base": [1.0], "small": [1.0]})
    run(
        tmp_path / "results",
        lambda job, files: CRASH if job.model == "base" else good(job, files),
        plan(subjects, 1),
        subjects,
    )
    value, reason = scalars_of(tmp_path / "results", "small")["max_abs_difference"]
    assert (value, reason) == (None, "the parent model did not run")


@pytest.mark.parametrize(
    "left", [None, b"", b"no zip", b"PK\x03\x04 cut short"], ids=["absent", "empty", "rubbish", "cut short"]
)
def test_outputs_that_cannot_be_read_fail_that_job_only(
    tmp_path: Path, subjects: dict[str, Subject], left: bytes | None
) -> None:
    _, outcomes = run(tmp_path / "results", outputs({"base": [1.0, 2.0], "small": left}), plan(subjects, 1), subjects)
    assert outcome(outcomes, "small", "quality") == ["failed"]
    assert read_tables(tmp_path / "results").runs["status"].tolist().count("ok") == 3


def test_outputs_are_compared_with_those_of_the_same_precision(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    """Two precisions in one session: each has a reference of its own."""
    options = {"precision": ["fp32", "bf16"]}
    latency = [job for subject in subjects.values() for job in configurations(subject, "fake", None, options, {})]
    values = {("base", "fp32"): 1.0, ("base", "bf16"): 3.0, ("small", "fp32"): 1.5, ("small", "bf16"): 3.125}

    def script(job: Job, files: Files) -> Script:
        return outputs({job.model: [values[job.model, str(job.precision)]]})(job, files)

    run(tmp_path / "results", script, passes(latency, 1, subjects, memory=False), subjects)
    runs, scalars = read_table(tmp_path / "results", "runs"), read_table(tmp_path / "results", "scalars")
    found = {}
    for row in scalars[scalars["name"] == "max_abs_difference"].to_dict("records"):
        (job,) = runs.loc[runs["attempt_id"] == row["attempt_id"], "job_json"]
        found[json.loads(job)["precision"]] = row["value"]
    assert found == {"fp32": 0.5, "bf16": 0.125}


def test_a_job_that_is_skipped_or_failed_counts_for_no_success(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    session, _ = run(
        tmp_path / "results", lambda job, _: CRASH if job.model == "small" else GOOD, plan(subjects, 3), subjects
    )
    assert (session.succeeded, len(session.failed), len(session.skipped)) == (4, 3, 1)
    assert session.position == 7, "a job that is skipped takes no place"
