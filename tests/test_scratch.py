"""Scratch folders: those of killed processes go with the next run, those of living ones never."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import scratch
from harness.experiment.session import open_session
from harness.scratch import PREFIX, ScratchFolder, delete_abandoned

HOLDS = """
import sys
from harness.scratch import ScratchFolder
folder = ScratchFolder()
open(folder.name + "/file", "w").close()
print(folder.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a scratch folder with a file in it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.communicate()


def test_a_killed_process_leaves_a_folder_that_the_next_session_deletes(place: Path) -> None:
    from fakes.target import FakeTarget

    (killed, left), (living, held) = holder(), holder()
    end(killed, signal.SIGKILL)
    assert left.is_dir()
    with open_session(FakeTarget(), place / "results", 1.0) as session:
        assert not left.exists()
        assert (held / "file").exists(), "it lives"
        assert session.scratch.is_dir()
    assert not session.scratch.exists()
    end(living, signal.SIGKILL)
    delete_abandoned()
    assert list(place.glob(f"{PREFIX}*")) == []


def test_what_is_not_ours_stays(place: Path) -> None:
    strangers = [place / "harness-notes", place / "other", place / f"{PREFIX}file"]
    strangers[0].mkdir()
    strangers[1].mkdir()
    strangers[2].touch()
    outside = place / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (place / f"{PREFIX}link").symlink_to(outside)
    delete_abandoned()
    assert all(path.exists() for path in strangers)
    assert (outside / "file").exists()


def test_a_folder_of_another_user_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = place / f"{PREFIX}x"
    left.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    delete_abandoned()
    assert left.is_dir()
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    delete_abandoned()
    assert not left.exists()


def test_a_folder_that_is_deleted_before_it_is_locked_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, taken = scratch._hold, []

    def after_another(folder: str) -> int | None:
        if not taken:
            taken.append(folder)
            delete_abandoned()
        return hold(folder)

    monkeypatch.setattr(scratch, "_hold", lambda folder: hold(folder) if taken else after_another(folder))
    with ScratchFolder() as folder:
        assert Path(folder).is_dir()
        assert taken == taken[:1] != [folder]


def test_without_locks_nothing_counts_as_abandoned(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refused)
    with ScratchFolder() as folder:
        delete_abandoned()
        assert Path(folder).is_dir()
    assert not Path(folder).exists()


def test_locks_are_let_go() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with ScratchFolder():
            pass
    assert len(os.listdir("/proc/self/fd")) == before
