"""Standard output closed, full or of another encoding: a sentence at most, and nothing that was stored is lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cli.driving import HARNESS, PATIENCE_S, QUICK, Home
from models_on_disk import Models
from report.conftest import Session

COMMANDS = (
    "compare",
    "report",
    "report --list",
    "table",
    "results check",
    "results compact --dry-run",
    "targets --json",
    "models list",
    "nightly example config",
    "compare --help",
    "--version",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two models in a store, made by hand."""
    home = Home(tmp_path_factory.mktemp("streams"))
    session = Session()
    for block in range(2):
        for model, duration in (("µ-base", 1_000_000), ("small", 500_000)):
            session.add(model, block, samples={"steady": [duration] * 3})
    session.write(home.results)
    return home


def shell(home: Home, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line for sh, in which `harness` is the command."""
    return subprocess.run(
        ["sh", "-c", f'harness() {{ "{HARNESS}" "$@"; }}\n{line}'],
        cwd=home.folder,
        env={**home.environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(("to", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")])
def test_output_that_cannot_be_written_is_one_sentence(stored: Home, to: str, why: str) -> None:
    ended = shell(stored, "\n".join(f"harness {command} {to}; echo $? >&2" for command in COMMANDS))
    sentence = (
        f"harness: Standard output cannot be written ({why}).\nWhat was stored stays; give the output another place."
    )
    assert ended.stderr.decode() == f"{sentence}\n1\n" * len(COMMANDS)


def test_progress_that_nobody_can_hear_ends_nothing(stored: Home) -> None:
    heard = shell(stored, "harness compare; harness report --list")
    for to in ("2>&-", "2>/dev/full", "2>&- <&-"):
        assert shell(stored, f"harness compare {to}; harness report --list {to}").stdout == heard.stdout


def test_a_reader_that_has_read_enough_ends_it_without_a_word(stored: Home) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [HARNESS, "report"],
        cwd=stored.folder,
        env=stored.environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-2", "iso8859-5", "cp1251", "ascii:strict"])
def test_what_an_encoding_lacks_is_replaced(stored: Home, encoding: str) -> None:
    line = "harness compare && harness report && harness table && harness targets && harness models list"
    ended = shell(stored, line, PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    if encoding == "iso8859-5":  # it has no µ
        assert b"u-base" in ended.stdout
        assert b"?" not in ended.stdout


def test_the_c_locale_without_utf8_prints_too(stored: Home) -> None:
    ended = shell(stored, "harness report", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_run_without_an_output_is_stored_and_says_where(home: Home, models: Models) -> None:
    line = " ".join(map(str, ("-t x86 -n 1 --no-memory -m", models.mlp, *QUICK)))
    ended = shell(home, f"harness run {line} >&-; echo $? >&2")
    said = ended.stderr.decode().splitlines()
    assert said[-1] == "1"
    assert "Standard output cannot be written" in said[-3]
    assert "`harness compare --session" in said[-4], "it says how to print the table"
    assert [run["status"] for run in home.rows()] == ["ok"]
    assert shell(home, "harness compare").stdout


def test_files_that_are_opened_while_standard_output_is_closed_stay_whole(stored: Home, tmp_path: Path) -> None:
    ended = shell(stored, f"harness report --html {tmp_path}/page.html >&- 2>&-")
    assert ended.returncode == 1
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Standard output" not in page
