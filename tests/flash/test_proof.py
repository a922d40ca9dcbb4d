"""Bytes count only where the kernel says that a device gave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.errors import ModelError, UsageError
from harness.flash.io import proof
from harness.flash.io.arena import Arena
from harness.flash.io.proof import cached_fraction, check_storage, host_note, prove
from harness.flash.io.reader import DIRECT, Kind, open_reader
from harness.storage_reads import drop_page_cache, fetched_bytes

SHARED_MEMORY = Path("/dev/shm")
SIZE = 1 << 20


@pytest.fixture
def file(disk: Path) -> Path:
    """A megabyte, on the disk and not in the page cache."""
    path = disk / "file"
    path.write_bytes(np.random.default_rng(0).bytes(SIZE))
    drop_page_cache(path)
    return path


def read_all(kind: Kind, path: Path) -> proof.Proof:
    arena, count = Arena(64, SIZE // 64), 64
    with open_reader(kind, path, arena, 4) as reader:
        places = np.arange(count, dtype=np.int64)
        before = fetched_bytes()
        asked = reader.read(places * arena.slot_bytes, np.full(count, arena.slot_bytes), places)
        return prove(before, fetched_bytes(), asked)


def test_the_kernels_count_decides() -> None:
    assert prove(100, 1100, 1000) == proof.Proof(1000, 1000, True, None)
    assert prove(0, 990, 1000).valid
    assert not prove(0, 989, 1000).valid
    assert prove(0, 989, 1000).reason == "of 1000 bytes asked for, 989 came from the device"
    assert prove(0, 4096, 1000).valid  # reading ahead is reading


def test_where_the_kernel_does_not_count_nothing_is_proven() -> None:
    for before, after in ((None, 5), (5, None), (None, None)):
        unknown = prove(before, after, 1000)
        assert (unknown.read_bytes, unknown.valid) == (None, False)
        assert "does not count" in (unknown.reason or "")


def test_a_token_that_asks_for_nothing_is_valid() -> None:
    assert prove(7, 7, 0).valid


@pytest.mark.parametrize("kind", DIRECT)
def test_direct_reads_come_from_the_device_every_time(file: Path, kind: Kind) -> None:
    for _ in range(2):
        found = read_all(kind, file)
        assert found.valid, found
        assert found.read_bytes is not None
        assert found.asked_bytes == SIZE <= found.read_bytes < 1.5 * SIZE


@pytest.mark.parametrize("kind", ["buffered", "mmap", "mmap-random"])
def test_what_the_page_cache_holds_is_no_proof(file: Path, kind: Kind) -> None:
    file.read_bytes()
    found = read_all(kind, file)
    assert not found.valid
    assert found.reason == f"of {SIZE} bytes asked for, {found.read_bytes} came from the device"


def test_the_state_of_the_cache_is_seen(file: Path) -> None:
    assert cached_fraction(file) == 0.0
    with file.open("rb") as opened:
        opened.read(SIZE)
    assert cached_fraction(file) == 1.0
    drop_page_cache(file)
    assert cached_fraction(file) == 0.0


def test_an_empty_file_has_no_state(disk: Path) -> None:
    (disk / "empty").touch()
    assert cached_fraction(disk / "empty") is None


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no /dev/shm here")
def test_memory_is_refused_although_it_opens(tmp_path: Path) -> None:
    path = SHARED_MEMORY / tmp_path.name / "file"
    path.parent.mkdir()
    try:
        with pytest.raises(UsageError, match=r"lies in memory \(tmpfs\)"):
            check_storage(path)  # before it is written
        path.write_bytes(bytes(4096))
        for direct in (True, False):
            with pytest.raises(UsageError, match=r"lies in memory \(tmpfs\)"):
                check_storage(path, direct)
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def test_a_file_system_without_o_direct_is_refused() -> None:
    path = Path("/proc/self/status")
    with pytest.raises(UsageError, match="has no O_DIRECT"):
        check_storage(path)
    check_storage(path, direct=False)


def test_what_cannot_be_opened_is_a_sentence(disk: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        check_storage(disk / "absent" / "file")
    check_storage(disk / "file")  # may be written yet


def test_a_virtual_machine_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def note(flags: str) -> str | None:
        monkeypatch.setattr(Path, "read_text", lambda path: flags)
        monkeypatch.setattr(Path, "exists", lambda path: False)
        return host_note()

    assert note("flags : fpu hypervisor lahf_lm\n") == "A cache below a virtual machine cannot be seen."
    assert note("flags : fpu lahf_lm\n") is None
