"""Which sizes models were run with, and that unlike ones are no comparison."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.analysis.notes import _sizes


def run(model: str, *sizes: list[int]) -> dict[str, Any]:
    return {"measure": "latency", "model": model, "batch": 1, "job_json": json.dumps({"input_sizes": sizes})}


@pytest.mark.parametrize(("other", "warned"), [([1, 1, 800], True), ([1, 1, 4000], False), ([1, 800], False)])
def test_models_that_got_other_sizes_did_other_work(other: list[int], warned: bool) -> None:
    notes = _sizes([run("a", [1, 1, 4000]), run("b", other)])
    different = f"of a are [1, 1, 4000], those of b are {other}"
    alike = "of a and b are [1, 1, 4000]"
    assert notes[0] == f"At batch 1 the inputs {alike if other == [1, 1, 4000] else different}."
    assert [note.partition(",")[0] for note in notes[1:]] == (
        ["WARNING: these models got inputs of different sizes"] if warned else []
    )
