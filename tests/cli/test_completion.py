"""What a shell is offered: targets, models and files, metrics with their labels."""

from __future__ import annotations

import os
import subprocess

import pytest
from cli.driving import HARNESS


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        (["run", "-t"], "x", {"plain,x86"}),
        (["run", "--target"], "", {"plain,x86", "plain,arm64", "plain,npu"}),
        (["run", "-t", "x86", "-m"], "self", {"plain,selfcomp", "file,self"}),
        (["run", "-t", "x86", "-m"], "nothing-like-it", {"file,nothing-like-it"}),
        (["run", "--scenario"], "off", {"plain,offline"}),
        (["table", "-c"], "decode_latency_ns_p5", {"plain,decode_latency_ns_p50"}),
    ],
)
def test_values_are_offered(words: list[str], incomplete: str, offered: set[str]) -> None:
    line = " ".join(["harness", *words, incomplete])
    variables = {"_HARNESS_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) + 1)}
    ended = subprocess.run([HARNESS], env=os.environ | variables, capture_output=True, text=True, check=True)
    lines = set(ended.stdout.splitlines())
    assert offered <= lines
    assert all(text.partition(",")[2].startswith(incomplete) for text in lines)
