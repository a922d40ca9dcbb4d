"""`harness run --resolve`: blocks are added until what was asked for shows, with a fake worker of known noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.jobs import make_subject
from fakes.target import CAPABILITIES, DONE, HELLO, FakeTarget, Script, fails, samples

from harness.analysis.comparison import Comparison, compare_tables
from harness.experiment.added_blocks import AddedBlocks
from harness.experiment.plan import Subject, block_of, configurations, passes
from harness.experiment.resume import resume
from harness.experiment.session import Session, open_session
from harness.job import Files, Job
from harness.report.rendering import render
from harness.statistics.ratio import block_ratio
from harness.statistics.summary import log_mean
from harness.store.dataset import read_sessions, read_table, read_tables

pytestmark = pytest.mark.usefixtures("unsynced")

MEASURED = replace(CAPABILITIES, latency="measured")
Scripted = Callable[[Job, Files], Script]


def noisy(spread: float) -> Scripted:
    """The second model is a tenth slower; every process varies by `spread`, always by the same."""

    def script(job: Job, files: Files) -> Script:
        random = np.random.default_rng([job.block, len(job.model), job.threads])
        level = 1_000_000 * (1.1 if job.model == "small" else 1.0) * np.exp(spread * random.standard_normal())
        return (HELLO, samples(*[int(level)] * 64), DONE)

    return script


@pytest.fixture
def subjects(tmp_path: Path) -> dict[str, Subject]:
    return {name: make_subject(tmp_path, name) for name in ("base", "small")}


def one_block(subjects: dict[str, Subject], asked: float, threads: Sequence[int] = (1,)) -> list[Job]:
    latency = [
        job
        for subject in subjects.values()
        for job in configurations(subject, "fake", None, {"threads": list(threads)}, {"resolve": asked})
    ]
    return sorted(latency, key=lambda job: job.threads)


def run(
    results: Path,
    subjects: dict[str, Subject],
    script: Scripted,
    asked: float,
    *,
    threads: Sequence[int] = (1,),
    memory: bool = False,
    **more: Any,
) -> tuple[Session, AddedBlocks, list[str]]:
    """The session, its jobs and what was told, with five blocks at first and a quality pass at the end."""
    latency = one_block(subjects, asked, threads)
    jobs = passes(latency, 5, subjects, memory=memory)
    with open_session(FakeTarget(script, capabilities=MEASURED), results, 20.0) as session:
        blocks = AddedBlocks(jobs, latency, 5, asked, **more)
        told = [
            blocks.ended(None if isinstance(outcome, Job) else outcome)
            for outcome in session.run_all(blocks, subjects, None)
        ]
    return session, blocks, [text for text in told if text]


def compared(results: Path) -> Comparison:
    (comparison,) = compare_tables(read_tables(results))
    return comparison


def latency_of(blocks: AddedBlocks) -> list[tuple[str, int]]:
    return [(job.model, job.block) for job in blocks.jobs if job.measure == "latency"]


def test_blocks_are_added_until_the_difference_shows(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    _, blocks, told = run(tmp_path / "results", subjects, noisy(0.02), 0.05, memory=True)
    comparison = compared(tmp_path / "results")
    found = comparison.resolution
    assert found is not None
    assert found.shows is not None
    assert found.shows <= 0.05
    assert (found.reached, found.asked, found.ended) == (True, 0.05, None)
    assert found.processes == comparison.processes[0] > 5
    assert latency_of(blocks) == [
        (model, block)
        for block in range(found.processes)
        for model in (("base", "small") if block % 2 == 0 else ("small", "base"))
    ]
    assert len(told) == found.processes - 5
    assert told[0].startswith("after 5 blocks ")
    assert "5 % asked: about " in told[0]
    order = [measure for measure, _ in itertools.groupby(job.measure for job in blocks.jobs)]
    assert order == ["memory", "latency", "quality"]
    # One block fewer did not resolve it.
    tables = read_tables(tmp_path / "results")
    assert tables.runs.sort_values("position")["job_id"].tolist() == [job.job_id for job in blocks.jobs]
    fewer = tables.runs[tables.runs["block"] < found.processes - 1]
    (before,) = compare_tables(replace(tables, runs=fewer))
    assert before.resolution is not None
    assert before.resolution.reached is False


def test_what_shows_at_once_takes_no_more_blocks_and_has_the_interval_of_a_look(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    """The same processes in a session whose number was fixed have a narrower one."""
    _, blocks, told = run(tmp_path / "looked", subjects, noisy(0.001), 0.05)
    assert len(latency_of(blocks)) == 10
    assert told == []
    (note,) = [note for note in compared(tmp_path / "looked").notes if note.startswith("Asked to resolve")]
    reached = "Asked to resolve 5 %: reached with 5 processes; intervals allow for a look after every block."
    assert note == reached
    latency = [replace(job, resolve=None) for job in one_block(subjects, 0.05)]
    with open_session(FakeTarget(noisy(0.001), capabilities=MEASURED), tmp_path / "fixed", 20.0) as session:
        list(session.run_all(passes(latency, 5, subjects, memory=False), subjects, None))
    for name, ratio, figure in (("looked", 0.995, 0.965), ("fixed", 0.99, 0.95)):
        (row,) = [r for r in compared(tmp_path / name).rows if r.metric.name == "steady_latency_ns_p50"]
        (versus,) = [one for one in row.versus if one is not None]
        base, small = (dict(enumerate(one.values)) for one in row.figures)
        expected = block_ratio(base, small, ratio)
        assert (versus.low, versus.high, versus.shows) == (expected.low, expected.high, expected.shows)
        assert row.figures[0].estimate == log_mean(row.figures[0].values, figure)


def test_time_ends_the_adding_and_the_table_says_so(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    _, blocks, told = run(tmp_path / "results", subjects, noisy(0.1), 0.01, max_time_s=0.0)
    assert len(latency_of(blocks)) == 10
    (text,) = told
    assert text.endswith(": --max-time is over")
    comparison = compared(tmp_path / "results")
    (note,) = [note for note in comparison.notes if note.startswith("Asked to resolve 1 %, reached ")]
    assert note.endswith(": time was over, or it was cut short.")
    assert '"reached": false' in render([comparison], "json")


def test_no_more_than_the_most(tmp_path: Path, subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.statistics.looks.MOST_BLOCKS", 7)
    _, blocks, told = run(tmp_path / "results", subjects, noisy(0.1), 0.01)
    assert len(latency_of(blocks)) == 14
    assert "it would take more than 7, which are the most" in told[0]
    assert told[-1].endswith(": no more blocks than these are added")


def test_a_condition_that_resolves_it_gets_no_more_blocks(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    quiet, loud = noisy(0.001), noisy(0.02)

    def script(job: Job, files: Files) -> Script:
        return (quiet if job.threads == 1 else loud)(job, files)

    _, blocks, _ = run(tmp_path / "results", subjects, script, 0.05, threads=(1, 2))
    counts = {
        threads: sum(job.threads == threads for job in blocks.jobs if job.measure == "latency") for threads in (1, 2)
    }
    assert counts[1] == 10
    assert counts[2] > 10
    found = [comparison.resolution for comparison in compare_tables(read_tables(tmp_path / "results"))]
    assert [one.reached for one in found if one is not None] == [True, True]


def test_a_model_that_fails_adds_no_blocks_for_ever(tmp_path: Path, subjects: dict[str, Subject]) -> None:
    loud = noisy(0.1)

    def script(job: Job, files: Files) -> Script:
        if job.model == "small" and job.block >= 5:
            return (HELLO, fails("model"))
        return loud(job, files)

    session, blocks, _ = run(tmp_path / "results", subjects, script, 0.01)
    assert len(latency_of(blocks)) == 12
    assert len(session.failed) == 1


def test_a_session_that_was_interrupted_goes_on_and_ends_as_if_it_had_not(
    tmp_path: Path, subjects: dict[str, Subject]
) -> None:
    loud, asked = noisy(0.02), 0.05
    whole, _, _ = run(tmp_path / "whole", subjects, loud, asked)
    assert whole.succeeded > 14

    def stopped(job: Job, files: Files) -> Script:
        if (job.measure, job.model, job.block) == ("latency", "base", 5):  # in the midst of a block that was added
            return (HELLO, {"interrupt": "SIGINT"}, {"sleep": 60})
        return loud(job, files)

    results = tmp_path / "results"
    with pytest.raises(KeyboardInterrupt):
        run(results, subjects, stopped, asked)
    found = compared(results).resolution
    assert found is not None
    assert (found.reached, found.ended) == (False, "it was interrupted")
    latency = one_block(subjects, asked)
    jobs = passes(latency, 5, subjects, memory=False)
    added = [job for number in range(5, 50) for job in block_of(latency, number)]
    with open_session(FakeTarget(loud, capabilities=MEASURED), results, 20.0) as session:
        session.fingerprints = set(read_table(results, "runs")["fingerprint"])
        left = resume(session, results, [*jobs, *added])
        done = {job.job_id for job in (*jobs, *added)} - {job.job_id for job in left}
        stored = read_sessions(results, [session.session_id])
        first = [job for job in left if job in jobs]
        blocks = AddedBlocks(first, latency, 5, asked, None, sorted(done), stored)
        for outcome in session.run_all(blocks, subjects, None):
            blocks.ended(outcome)
    assert read_table(results, "runs")["session_id"].nunique() == 1
    again, before = compared(results), compared(tmp_path / "whole")
    assert again.resolution == before.resolution
    assert again.processes == before.processes
