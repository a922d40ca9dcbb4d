"""Files appear complete or not at all, also where the process that writes them is killed; locks end with processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.atomic_files import locked, replacing_file, replacing_files, replacing_folder, try_lock, unwritable
from harness.errors import HarnessError, UsageError

# What each child does between the write and the renaming, when it is killed.
KILLED = {
    "a file": """
import os, sys, time
from pathlib import Path
from harness.atomic_files import replacing_file
folder = Path(sys.argv[1])
with replacing_file(folder / "a", folder / ".unfinished") as file:
    file.write(b"new")
    file.flush()
    print("written", flush=True)
    sys.stdin.read()
""",
    "files": """
import sys
from pathlib import Path
from harness.atomic_files import locked, replacing_files
folder = Path(sys.argv[1])
with locked(folder / ".lock"), replacing_files(folder) as scratch:
    (scratch / "a").write_bytes(b"new")
    print("written", flush=True)
    sys.stdin.read()
""",
}


@pytest.fixture(autouse=True)
def fast(unsynced: None) -> None:
    """Nothing is synced here."""


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("kind", KILLED)
def test_a_process_killed_between_the_write_and_the_renaming_changes_nothing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED[kind], str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.kill()
    assert visible(tmp_path) == {"a": b"old"}
    with locked(tmp_path / ".lock"), replacing_files(tmp_path) as scratch:
        (scratch / "a").write_bytes(b"newer")
    with replacing_file(tmp_path / "b", tmp_path / ".unfinished") as file:
        file.write(b"b")
    assert visible(tmp_path) == {"a": b"newer", "b": b"b"}, "what was left is in nobody's way"


def test_a_body_that_raises_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def stopped(write: Callable[[bytes], object]) -> None:
        write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing_file(tmp_path / "a") as file:
        stopped(file.write)
    with pytest.raises(KeyboardInterrupt), replacing_files(tmp_path) as scratch:
        stopped((scratch / "a").write_bytes)
    assert visible(tmp_path) == {"a": b"old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    final = tmp_path / ("x" * 255)
    with replacing_file(final) as file:
        file.write(b"new")
    assert final.read_bytes() == b"new"


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    replace = os.replace

    def renamed(before: Path, after: Path) -> None:
        steps.append("renamed")
        replace(before, after)

    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    monkeypatch.setattr(os, "replace", renamed)
    with replacing_file(tmp_path / "a", tmp_path / ".unfinished") as file:
        file.write(b"new")
    assert steps == [str(tmp_path / ".unfinished"), "renamed", str(tmp_path)]


def test_the_file_that_says_that_all_are_there_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(os, "replace", lambda before, after: order.append(Path(after).name))
    with replacing_files(tmp_path / "new", last="b") as scratch:
        for name in ("c", "b", "a"):
            (scratch / name).touch()
    assert order == ["a", "c", "b"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / "new" / ".lock"):
                with counting:
                    inside, most = inside + 1, max(most, inside + 1)
                with counting:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_lock_that_another_has_is_not_taken(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())
        first.close()
        assert try_lock(second.fileno())


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk has no room for x."),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk has no room for x."),
        (OSError(errno.EACCES, "Permission denied"), "x cannot be written (Permission denied)."),
        (OSError("it is gone."), "x cannot be written (it is gone)."),
        (ValueError("embedded null byte"), "x cannot be written (embedded null byte)."),
    ],
)
def test_what_cannot_be_written_is_one_sentence(error: Exception, what: str) -> None:
    said = unwritable("x", error, "Name another.", UsageError)
    assert (type(said), said.message) == (UsageError, what)
    assert said.hint == ("Name another." if "cannot" in what else "Free space, or name a place on another disk.")
    assert type(unwritable("x", error, "")) is HarnessError


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "bundle"
    with replacing_folder(folder) as fresh:
        (fresh / "old").write_text("old")
        assert not folder.exists()

    def half() -> None:
        with replacing_folder(folder) as fresh:
            (fresh / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert [path.name for path in folder.iterdir()] == ["old"]
    with replacing_folder(folder) as fresh:
        (fresh / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"], "nothing is left beside it"
