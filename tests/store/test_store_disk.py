"""A disk that is full, a folder that cannot be written: a sentence, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from store.attempts import DATE, TARGET, attempt, files, in_a_process, write
from store.writers import complete

from harness.errors import StoreError
from harness.store import writer
from harness.store.writer import prepare, write_attempt

pytestmark = pytest.mark.usefixtures("unsynced")


def fail_on_call(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, error: OSError) -> None:
    """Let `owner.name` raise at its call `number`, counted from 1; every other call goes through."""
    original: Callable[..., Any] = getattr(owner, name)
    calls: list[None] = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == number:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", [1, 2, 3], ids="at file {}".format)
@pytest.mark.parametrize(
    ("owner", "name"),
    [(pq, "ParquetWriter"), (os, "replace"), (Path, "open"), (Path, "mkdir")],
    ids=["write", "rename", "open", "mkdir"],
)
def test_a_full_disk_leaves_nothing_of_the_attempt_and_all_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    write(tmp_path, "a1")
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        fail_on_call(patch, owner, name, call, FULL)
        with pytest.raises(StoreError, match="full") as caught:
            write(tmp_path, "a2")
    assert str(tmp_path) in caught.value.message
    assert "--results" in caught.value.hint
    assert "stay" in caught.value.hint
    assert files(tmp_path) == before
    assert complete(tmp_path) == {"a1"}


# Three files, each synced and then its folder: the odd calls are files, the even ones folders.
@pytest.mark.parametrize("call", range(1, 7), ids="at sync {}".format)
def test_a_disk_that_is_found_full_when_synced_leaves_no_half_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    write(tmp_path, "a1")
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        fail_on_call(patch, os, "fsync", call, FULL)
        with pytest.raises(StoreError, match="full"):
            write(tmp_path, "a2")
    assert complete(tmp_path) == {"a1"}
    assert files(tmp_path) == before


def test_a_real_refusal_of_the_kernel_is_a_sentence_too(tmp_path: Path) -> None:
    said = json.loads(in_a_process("refused", tmp_path))
    assert "full" in said["what"]
    assert "--results" in said["todo"]
    assert complete(tmp_path) == {"before"}
    assert not [name for name in files(tmp_path) if "before" not in name]


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EACCES, "Permission denied"), (errno.EROFS, "Read-only file system"), (errno.EIO, "Input/output error")],
)
def test_a_folder_that_cannot_be_written_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    monkeypatch.setattr(writer, "write_file", lambda *args: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with pytest.raises(StoreError, match=said) as caught:
        write(tmp_path, "a1")
    assert str(tmp_path) in caught.value.message
    assert "--results" in caught.value.hint


@pytest.mark.parametrize("act", [prepare, lambda results: write(results, "a1")], ids=["prepare", "write"])
def test_a_folder_below_a_file_is_refused(tmp_path: Path, act: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        act(tmp_path / "file" / "results")


def test_prepare_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b")
    prepare(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_prepare_finds_a_full_disk_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on_call(monkeypatch, Path, "write_bytes", 1, FULL)
    with pytest.raises(StoreError, match="full"):
        prepare(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a\\b", "a\x00", "a b", "ä", "a\n", "%2e", "x=y"])
@pytest.mark.parametrize("place", ["date", "target", "attempt"])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, place: str, name: str) -> None:
    if name == "..":  # no part of a path by itself: it stands behind `date=` or before `.parquet`
        name = "/.."
    parts = {"date": DATE, "target": TARGET, "attempt": "a1"} | {place: name}
    with pytest.raises(ValueError, match="not fit"):
        write_attempt(tmp_path / "results", parts["date"], parts["target"], attempt(parts["attempt"]))
    assert not files(tmp_path)
