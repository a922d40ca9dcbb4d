"""What `harness run --dry-run` makes of earlier sessions: their noise, and how long their processes took."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.jobs import make_job
from report.conftest import Session

from harness.errors import NothingComparable
from harness.experiment.earlier_noise import Noise, read_noise
from harness.job import Job

BASE, SMALL = (make_job(target="x86", model=name) for name in ("base", "small"))
# Logarithms, a block each; of the differences the deviation is 0.01 in the first session, 0.02 in the second.
FIRST = {"base": (1.00, 1.02, 1.05), "small": (0.99, 1.02, 1.06)}
SECOND = {"base": (1.00, 1.10), "small": (1.00, 1.10 + 0.02 * math.sqrt(2))}


def store(results: Path, name: str, logs: Mapping[str, tuple[float, ...]], **changes: object) -> None:
    session = Session(name)
    for model, values in logs.items():
        for block, log in enumerate(values):
            job = replace(make_job(target="x86", model=model, block=block), **changes)  # type: ignore[arg-type]
            session.add(model, block, samples={"steady": [round(1e9 * math.exp(log))]}, options=facts(job))
    session.write(results)


def facts(job: Job) -> dict[str, object]:
    found: dict[str, object] = json.loads(job.canonical_json())
    return found


def noise(results: Path) -> Noise:
    return read_noise(results, "x86", "cpu", ["base", "small", "new"])


def test_spreads_are_of_differences_block_by_block_and_pooled_over_sessions(tmp_path: Path) -> None:
    store(tmp_path, "one", FIRST)
    found = noise(tmp_path).between(BASE, SMALL)
    assert found is not None
    assert (found.deviation, found.processes) == (pytest.approx(0.01, rel=1e-6), 6)
    store(tmp_path, "two", SECOND)
    both = noise(tmp_path).between(BASE, SMALL)
    assert both is not None
    # Two degrees of freedom of 0.01 and one of 0.02.
    assert both.deviation == pytest.approx(math.sqrt((2 * 0.01**2 + 0.02**2) / 3), rel=1e-6)
    assert both.processes == 10


def test_models_that_were_never_measured_together_have_the_spread_of_both(tmp_path: Path) -> None:
    store(tmp_path, "one", {"base": (1.0, 1.03, 1.06)})
    store(tmp_path, "two", {"small": (1.0, 1.04, 1.08)})
    found = noise(tmp_path).between(BASE, SMALL)
    assert found is not None
    assert found.deviation == pytest.approx(0.05, rel=1e-6)
    assert noise(tmp_path).between(BASE, replace(SMALL, model="new")) is None


def test_another_condition_tells_nothing_and_another_length_or_number_of_processes_does(tmp_path: Path) -> None:
    store(tmp_path, "one", FIRST)
    known = noise(tmp_path)
    assert known.between(replace(BASE, threads=2), replace(SMALL, threads=2)) is None
    longer = {"min_duration_s": 9.0, "min_iterations": 7, "resolve": 0.05, "model_sha256": "cd" * 32}
    assert known.between(*(replace(job, **longer) for job in (BASE, SMALL))) == known.between(BASE, SMALL)


def test_an_empty_store_tells_nothing(tmp_path: Path) -> None:
    with pytest.raises(NothingComparable):
        noise(tmp_path / "nothing")


def test_times_are_those_of_such_processes(tmp_path: Path) -> None:
    store(tmp_path, "one", FIRST)
    known = noise(tmp_path)
    took = [(run["finished_at"] - run["started_at"]) / timedelta(seconds=1) for run in known.runs]
    assert known.lasts_s([BASE, BASE, SMALL]) == pytest.approx(3 * took[0])
    assert known.lasts_s([BASE, replace(BASE, measure="memory")]) is None
