"""A command that a message tells the user to type works as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cli.driving import HARNESS, QUICK, Home
from models_on_disk import Models
from report.conftest import Session

from harness.cli import _hints

HINT = re.compile(r"`(harness [^`]+)`")


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_RESULTS", raising=False)
    monkeypatch.setattr(_hints, "_given", [])


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("`harness compare --session 3f` says", "`harness compare --session 3f --results 'my dir'` says"),
        (
            "`harness report` and `harness results check`",
            "`harness report --results 'my dir'` and `harness results check --results 'my dir'`",
        ),
        ("`harness run --target x86 --model NAME`", "`harness run --target x86 --model NAME --results 'my dir'`"),
        ("The next `harness run` delivers.", "The next `harness run` delivers."),
        ("`harness models list` and `harness targets`", "`harness models list` and `harness targets`"),
        ("`harness report --results other`", "`harness report --results other`"),
        ("harness report", "harness report"),
    ],
)
def test_the_folder_is_added_where_a_command_needs_it(text: str, completed: str) -> None:
    assert _hints.complete(text) == text
    _hints.remember(Path("my dir"))
    assert _hints.complete(text) == completed


def test_a_folder_that_would_be_taken_anyway_is_not_added(monkeypatch: pytest.MonkeyPatch) -> None:
    _hints.remember(Path("results"))
    assert _hints.complete("`harness report`") == "`harness report`"
    monkeypatch.setenv("HARNESS_RESULTS", "elsewhere")
    _hints.remember(Path("elsewhere"))
    assert _hints.complete("`harness report`") == "`harness report`"
    _hints.remember(Path("results"))
    assert _hints.complete("`harness report`") == "`harness report --results results`"


def followed(home: Home, said: str) -> None:
    """Every hint of a text is a command that works."""
    hints = HINT.findall(said)
    assert hints, said
    for hint in hints:
        program, *arguments = shlex.split(hint)
        assert program == Path(HARNESS).name
        ended = home.harness(*arguments)
        assert ended.code == 0, ended.err


def test_the_last_line_of_a_run_can_be_typed(home: Home, models: Models) -> None:
    folder = "it's my $HOME"
    ended = home.harness("run", "-t", "x86", "-n", 1, "--no-memory", *QUICK, "-m", models.mlp, "--results", folder)
    assert ended.code == 0, ended.err
    followed(home, ended.err.splitlines()[-1])


def test_a_hopeless_run_says_a_command_that_shows_why(home: Home) -> None:
    (home.folder / "cut.pte").write_bytes(b"nothing")
    ended = home.harness("run", "-t", "x86", "-n", 1, "-m", "cut.pte", "--results", "r")
    assert ended.code == 1
    followed(home, ended.err.splitlines()[-1])


def test_what_reads_results_says_commands_with_their_folder(home: Home) -> None:
    session = Session()
    session.add("base", samples={"steady": [1000] * 3})
    session.write(home.folder / "my results")
    for arguments in (("compare", "--session", "zz"), ("report", "--session", "zz"), ("table", "--session", "zz")):
        ended = home.harness(*arguments, "--results", "my results")
        assert ended.code == 3
        followed(home, ended.err)
    empty = home.harness("compare", "--results", "no results")
    assert "--model NAME --results 'no results'`" in empty.err
