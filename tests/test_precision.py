"""A precision is a condition of its own: in the plan, in the session, in the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes.jobs import make_job, make_subject, perceptron
from fakes.target import DONE, GOOD, HELLO, FakeTarget, Script, fails, say

from harness.analysis.grouping import group, run_records
from harness.errors import UsageError
from harness.experiment.plan import configurations, passes
from harness.experiment.session import open_session
from harness.job import Files, Job
from harness.protocol import Scalar
from harness.store.dataset import read_tables

pytestmark = pytest.mark.usefixtures("unsynced")


def _plan(folder: Path, **options: list[Any]) -> tuple[list[Job], dict[str, Any]]:
    subjects = {name: make_subject(folder, name, perceptron(64, "pt2")) for name in ("base", "small")}
    latency = [job for subject in subjects.values() for job in configurations(subject, "fake", None, options, {})]
    return passes(latency, 2, subjects, memory=True), subjects


def _run(folder: Path, script: Callable[[Job, Files], Script], jobs: list[Job], subjects: dict[str, Any]) -> list[Any]:
    with open_session(FakeTarget(script), folder, 20.0) as session:
        return list(session.run_all(jobs, subjects, None))


def test_a_job_without_a_precision_keeps_its_id() -> None:
    assert "precision" not in make_job().canonical_json()
    assert make_job(precision="bf16").job_id != make_job().job_id


def test_quality_is_measured_once_a_model_and_precision(tmp_path: Path) -> None:
    jobs, _ = _plan(tmp_path, precision=["fp32", "bf16"])
    quality = [(job.model, job.precision) for job in jobs if job.measure == "quality"]
    assert quality == [("base", "fp32"), ("small", "fp32"), ("base", "bf16"), ("small", "bf16")]


def test_memory_and_quality_stand_in_the_table_of_their_precision(tmp_path: Path) -> None:
    jobs, subjects = _plan(tmp_path, precision=["fp32", "bf16"])
    losses = {"fp32": 1.0, "bf16": 2.0}

    def script(job: Job, files: Files) -> Script:
        assert job.precision is not None
        if job.measure == "quality":
            return (HELLO, say(Scalar(name="loss_nats", value=losses[job.precision])), DONE)
        return GOOD

    _run(tmp_path / "results", script, jobs, subjects)
    tables = read_tables(tmp_path / "results")
    groups = group(run_records(tables.runs))
    assert [condition.precision for condition, _ in groups] == ["fp32", "bf16"]
    for condition, runs in groups:
        asked = {json.loads(run["job_json"])["precision"] for run in runs}
        assert asked == {condition.precision}
        measures = pd.Series([run["measure"] for run in runs]).value_counts()
        assert dict(measures) == {"latency": 4, "memory": 4, "quality": 2}


def test_a_batch_that_the_store_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="smaller --batch"):
        _plan(tmp_path, batch=[1, 1 << 31])


def test_a_batch_that_is_too_large_does_not_stop_the_others(tmp_path: Path) -> None:
    jobs, subjects = _plan(tmp_path, batch=[1, 64, 8])

    def script(job: Job, files: Files) -> Script:
        large = job.model == "base" and job.batch == 64
        return (HELLO, fails("memory", "The worker ran out of memory at batch 64.")) if large else GOOD

    outcomes = _run(tmp_path / "results", script, jobs, subjects)
    ended: dict[tuple[str, int, str], list[str]] = {}
    for made in outcomes:
        job, status = (made, "skipped") if isinstance(made, Job) else (made.job, made.status)
        ended.setdefault((job.model, job.batch, job.measure), []).append(status)
    # Each pass finds out by itself, once.
    assert ended["base", 64, "latency"] == ended["base", 64, "memory"] == ["failed", "skipped"]
    for model, batch in (("base", 1), ("base", 8), ("small", 64)):
        assert ended[model, batch, "latency"] == ["ok", "ok"], (model, batch)


@pytest.mark.parametrize(
    ("text", "known", "words"),
    [("bf16", (), "file's own precision"), ("bf16,fp4", ("fp32", "bf16"), "'fp4'"), ("", ("fp32",), "''")],
)
def test_a_precision_that_a_target_lacks_is_refused(text: str, known: tuple[str, ...], words: str) -> None:
    from dataclasses import replace

    from fakes.target import CAPABILITIES

    from harness.experiment.request import RunRequest
    from harness.experiment.sweeps import sweeps_of

    def asked(precision: str) -> RunRequest:
        return RunRequest(target="fake", models="m.pte", precision=precision)

    with pytest.raises(UsageError, match=words):
        sweeps_of(asked(text), FakeTarget(capabilities=replace(CAPABILITIES, precisions=known)))
    target = FakeTarget(capabilities=replace(CAPABILITIES, precisions=("fp32", "bf16")))
    assert sweeps_of(asked("bf16,fp32,bf16"), target).swept["precision"] == ["bf16", "fp32"]
