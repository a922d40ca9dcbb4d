"""Files that a killed writer had not finished: a dead process's of this machine go at once, all others when old."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from store.test_compact import stored

from harness.cli.results import results as command
from harness.store.compact import compact
from harness.store.dataset import read_tables
from harness.store.mark import machine, temporary
from harness.store.unfinished import delete_unfinished

WRITES = """
import os, signal, sys
from pathlib import Path
from harness.store import place
if sys.argv[3] == "kill":
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    os.replace = lambda *_: (print("written", flush=True), sys.stdin.read())
place.put_file(Path(sys.argv[1]), sys.argv[2], b"half a file")
"""
PATH = "samples/date=2026-11-22/target=x86/one.parquet"


def writer(results: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITES, str(results), PATH, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hidden(results: Path) -> list[Path]:
    return sorted(path for path in results.rglob(".*") if path.is_file())


def test_what_a_killed_writer_left_is_deleted_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    killed = writer(tmp_path, "kill")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    living = writer(tmp_path, "wait")
    assert living.stdout is not None
    living.stdout.readline()
    left, held = sorted(hidden(tmp_path), key=lambda path: not path.name.endswith(f"-{killed.pid}"))
    found = delete_unfinished(tmp_path)
    assert (found.deleted, found.left) == ((left,), (held,))
    assert hidden(tmp_path) == [held]
    living.kill()
    living.communicate()
    assert delete_unfinished(tmp_path).deleted == (held,)
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    "name", [f".one.parquet.{'0' * 12}-1", f".one.parquet.{'f' * 12}-999999999", ".one.parquet.4711"]
)
def test_what_another_machine_or_an_older_harness_writes_stays_for_a_day(tmp_path: Path, name: str) -> None:
    path = (tmp_path / PATH).with_name(name)
    path.parent.mkdir(parents=True)
    path.touch()
    assert delete_unfinished(tmp_path).left == (path,)
    now = path.stat().st_mtime
    os.utime(path, (now - 86_000, now - 86_000))
    assert delete_unfinished(tmp_path).left == (path,)
    os.utime(path, (now - 87_000, now - 87_000))
    assert delete_unfinished(tmp_path).deleted == (path,)


def test_this_process_s_own_file_stays_however_old(tmp_path: Path) -> None:
    path = temporary(tmp_path / PATH)
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (0, 0))
    assert delete_unfinished(tmp_path).left == (path,)
    assert path.name == f".one.parquet.{machine()}-{os.getpid()}"


@pytest.mark.parametrize(
    "place",
    [
        "runs/date=d/target=t/.a.parquet",
        "environment/date=d/target=t/.compact-2-ab.parquet",
        "nights/date=d/target=t/.night-000001-1-started.parquet",
        "alerts/date=d/target=t/.alert-1.parquet",
        "artifacts/.abc.pte",
        ".probe",
    ],
)
def test_everywhere_in_a_store(tmp_path: Path, place: str) -> None:
    path = tmp_path / f"{place}.{machine()}-{1 << 22}"  # more than a process can have for a number
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert delete_unfinished(tmp_path).deleted == (path,)
    assert not path.exists()


def test_what_is_none_of_these_stays(tmp_path: Path) -> None:
    for name in ("notes/.draft", ".git", "runs/.hidden", "artifacts/abc.pte"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    found = delete_unfinished(tmp_path)
    assert (found.deleted, found.left) == ((), ())


@pytest.mark.usefixtures("unsynced")
def test_a_check_says_both_and_no_row_is_lost(tmp_path: Path) -> None:
    stored(tmp_path)
    rows = len(read_tables(tmp_path, "all").runs)
    folder = next((tmp_path / "runs").rglob("*.parquet")).parent
    dead, other = folder / f".x.parquet.{machine()}-{1 << 22}", folder / f".y.parquet.{'0' * 12}-1"
    for path in (dead, other):
        path.touch()
    said = CliRunner().invoke(command, ["check", "--results", str(tmp_path)], catch_exceptions=False)
    assert said.exit_code == 0
    assert f"deleted: {dead}, " in said.output
    assert f"harmless, unfinished: {other} " in said.output
    assert (dead.exists(), other.exists()) == (False, True)
    again = CliRunner().invoke(command, ["check", "--json", "--results", str(tmp_path)], catch_exceptions=False)
    assert json.loads(again.output)["data"]["unfinished"] == {"deleted": [], "left": [str(other)]}
    dead.touch()
    compact(tmp_path)
    assert (dead.exists(), other.exists()) == (False, True)
    assert len(read_tables(tmp_path, "all").runs) == rows
