"""The file that a verification leaves: one target's tests alone, and what became of each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.fixture(params=["x86", "cuda"])
def target(request):
    return request.param

def test_good(target): pass
def test_bad(target): assert target != "cuda", "this one is wrong"
def test_absent(target): pytest.skip("not measured here")
def test_of_no_target(): pass
"""


def test_the_outcomes_are_those_of_one_target(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(TESTS)
    code = (
        "import json, sys, pytest; sys.path.insert(0, sys.argv[1]); from verify import Recorder\n"
        "recorder = Recorder('cuda'); pytest.main(['-q', '-p', 'no:cacheprovider', sys.argv[2]], plugins=[recorder])\n"
        "print('\\n' + json.dumps(recorder.tests))"
    )
    command = (sys.executable, "-P", "-c", code, str(Path(__file__).parent), str(tmp_path))
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    rows = {name.rpartition("::")[2]: row for name, row in json.loads(said.stdout.splitlines()[-1]).items()}
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "test_good[cuda]": "passed",
        "test_bad[cuda]": "failed",
        "test_absent[cuda]": "skipped",
        "test_of_no_target": "passed",
    }
    assert "this one is wrong" in rows["test_bad[cuda]"]["reason"]
    assert "not measured here" in rows["test_absent[cuda]"]["reason"]
    assert all(row["seconds"] >= 0 for row in rows.values())
