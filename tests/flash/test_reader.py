"""All kinds read the same bytes to the same places, say what failed, and can be used again."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError, ModelError, UsageError
from harness.flash.io import c_backend, reader, threads
from harness.flash.io.arena import Arena
from harness.flash.io.reader import DIRECT, KINDS, Kind, Reader, open_reader
from harness.flash.io.transfer import PieceFailed, Transfer

SLOT_BYTES, SLOTS, DEPTH = 1024, 300, 8
SIZE = 600 * SLOT_BYTES


@pytest.fixture
def content() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, SIZE, np.uint8)


@pytest.fixture
def file(disk: Path, content: np.ndarray) -> Path:
    path = disk / "file"
    path.write_bytes(content.tobytes())
    return path


def fails_if_announced(sentence: str) -> None:
    raise AssertionError(sentence)


def opened(kind: Kind, path: Path, arena: Arena, depth: int = DEPTH) -> AbstractContextManager[Reader]:
    return open_reader(kind, path, arena, depth, fails_if_announced)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def expected(content: np.ndarray, offsets: np.ndarray, lengths: np.ndarray, slots: np.ndarray) -> np.ndarray:
    memory = np.zeros(SLOTS * SLOT_BYTES, np.uint8)
    for offset, length, slot in zip(offsets, lengths, slots, strict=True):
        memory[slot * SLOT_BYTES : slot * SLOT_BYTES + length] = content[offset : offset + length]
    return memory.reshape(SLOTS, SLOT_BYTES)


# The right bytes in the right places.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 2, 32])
def test_scattered_pieces_arrive_where_they_should(file: Path, content: np.ndarray, kind: Kind, depth: int) -> None:
    arena, random = Arena(SLOTS, SLOT_BYTES), np.random.default_rng(depth)
    with opened(kind, file, arena, depth) as read:
        assert read.kind == kind
        for count in (1, 2, 7, 150, 0, SLOTS, 33):
            arena.view[:] = 0
            lengths = random.integers(1, SLOT_BYTES // 512 + 1, count) * 512
            offsets = random.integers(0, (SIZE - SLOT_BYTES) // 512, count) * 512
            slots = random.permutation(SLOTS)[:count]
            assert read.read(offsets, lengths, slots) == lengths.sum()
            np.testing.assert_array_equal(arena.view, expected(content, offsets, lengths, slots))


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_piece_goes_on_in_the_slots_that_follow(file: Path, content: np.ndarray, kind: Kind) -> None:
    arena = Arena(SLOTS, SLOT_BYTES)
    pieces = (whole(512, 0), whole(200 * SLOT_BYTES, 100 * SLOT_BYTES), whole(100, 0))
    with opened(kind, file, arena) as read:
        assert read.read(*pieces) == SLOTS * SLOT_BYTES
    np.testing.assert_array_equal(arena.view, expected(content, *pieces))


@pytest.mark.parametrize("kind", DIRECT)
def test_many_small_batches_lose_no_piece(file: Path, content: np.ndarray, kind: Kind) -> None:
    """Threads that are woken for one batch and come late to it must not spoil the next."""
    arena, slots = Arena(SLOTS, SLOT_BYTES), np.arange(3)
    lengths, blocks = np.full(3, SLOT_BYTES), content.reshape(-1, SLOT_BYTES)
    with opened(kind, file, arena, 16) as read:
        for first in range(300):
            read.read((first + slots) * SLOT_BYTES, lengths, slots)
            np.testing.assert_array_equal(arena.view[:3], blocks[first : first + 3])


@pytest.mark.parametrize("kind", DIRECT)
def test_callers_take_turns(file: Path, content: np.ndarray, kind: Kind) -> None:
    arena, blocks = Arena(SLOTS, SLOT_BYTES), content.reshape(-1, SLOT_BYTES)
    wrong: list[int] = []

    def call(read: Reader, mine: np.ndarray) -> None:
        for first in range(40):
            read.read((first + mine) * SLOT_BYTES, np.full(len(mine), SLOT_BYTES), mine)
            if (arena.view[mine] != blocks[first + mine]).any():
                wrong.append(first)

    with opened(kind, file, arena) as read:
        callers = [threading.Thread(target=call, args=(read, np.arange(k * 20, k * 20 + 20))) for k in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not wrong


@pytest.mark.parametrize("kind", DIRECT)
def test_nothing_is_left_behind(file: Path, kind: Kind) -> None:
    def state() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    arena = Arena(SLOTS, SLOT_BYTES)
    descriptors, tasks = state()
    for _ in range(10):
        with opened(kind, file, arena) as read:
            read.read(whole(0), whole(512), whole(0))
    now = state()
    assert now[0] == descriptors
    assert now[1] < tasks + DEPTH  # not one open's worth: a thread may be joined a moment before it is gone


# What cannot be read is a sentence, and the next read works.


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_ends_early_is_named_and_the_reader_goes_on(file: Path, content: np.ndarray, kind: Kind) -> None:
    arena = Arena(SLOTS, SLOT_BYTES)
    offsets = np.arange(50) * 512
    offsets[20] = SIZE - 512
    with opened(kind, file, arena) as read:
        for _ in range(2):
            with pytest.raises(ModelError, match=f"no 1024 bytes at offset {SIZE - 512} of .*: the file ended early"):
                read.read(offsets, np.full(50, SLOT_BYTES), np.arange(50))
            assert read.read(whole(512), whole(SLOT_BYTES), whole(9)) == SLOT_BYTES
            np.testing.assert_array_equal(arena.view[9], content[512 : 512 + SLOT_BYTES])


@pytest.mark.parametrize("kind", DIRECT)
@pytest.mark.parametrize(("offset", "length"), [(100, 512), (512, 100)])
def test_an_alignment_that_the_disk_refuses_is_a_sentence(file: Path, kind: Kind, offset: int, length: int) -> None:
    with opened(kind, file, Arena(SLOTS, SLOT_BYTES)) as read:
        with pytest.raises(UsageError, match=f"refuses to read {length} bytes at offset {offset}"):
            read.read(whole(0, offset), whole(512, length), whole(0, 1))
        assert read.read(whole(512), whole(512), whole(0)) == 512


@pytest.mark.parametrize("way", [partial(threads.reading, together=True), c_backend.pool, c_backend.ring])
def test_an_error_of_the_system_names_its_piece(file: Path, way: object) -> None:
    """A descriptor that is open for writing alone refuses every read."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        with way(descriptor, Arena(4, 512), 2) as transfer, pytest.raises(PieceFailed) as raised:  # type: ignore[operator]
            transfer(whole(0, 512, 1024), whole(512, 512, 512), whole(0, 1, 2))
    finally:
        os.close(descriptor)
    assert raised.value.error_number == errno.EBADF
    assert raised.value.index in (0, 1)  # whichever thread was first


def test_a_failing_disk_is_a_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(offsets: np.ndarray, lengths: np.ndarray, slots: np.ndarray) -> None:
        raise PieceFailed(1, errno.EIO)

    @contextmanager
    def reading(descriptor: int, arena: Arena, depth: int, *, together: bool) -> Iterator[Transfer]:
        yield broken

    monkeypatch.setattr(threads, "reading", reading)
    with opened("threads", file, Arena(4, 512)) as read, pytest.raises(HarnessError) as raised:
        read.read(whole(0, 512), whole(512, 512), whole(0, 1))
    assert raised.value.message == f"512 bytes at offset 512 of {file} cannot be read (Input/output error)."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "length", "slot"),
    [
        (0, 512, -1),
        (0, 512, SLOTS),
        (0, SLOT_BYTES + 1, SLOTS - 1),
        (-512, 512, 0),
        (0, 0, 0),
        (0, -512, 0),
        (0, 1 << 62, 0),
        (0, 512, 1 << 60),
        (0, 512, (1 << 54) + 1),
    ],
)
def test_a_piece_outside_the_arena_never_reaches_the_disk(
    file: Path, kind: Kind, offset: int, length: int, slot: int
) -> None:
    arena = Arena(SLOTS, SLOT_BYTES)
    with opened(kind, file, arena) as read:
        with pytest.raises(ValueError, match="outside the arena"):
            read.read(whole(0, offset), whole(512, length), whole(0, slot))
        assert not arena.view.any()


def test_what_is_not_int64_of_one_length_is_refused(file: Path) -> None:
    with opened("pread", file, Arena(4, 512)) as read:
        for offsets, lengths, slots in [
            (whole(0), whole(512, 512), whole(0)),
            (whole(0), whole(512), whole(0).astype(np.int32)),
            (whole(0).astype(float), whole(512), whole(0)),
            (whole(0).reshape(1, 1), whole(512), whole(0)),
        ]:
            with pytest.raises(ValueError, match="int64 of one length"):
                read.read(offsets, lengths, slots)
        assert read.read(np.arange(4)[::2] * 512, np.full(4, 512)[::2], np.arange(4)[::2]) == 1024  # strided is fine


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_reader_says_so(file: Path, kind: Kind) -> None:
    with opened(kind, file, Arena(4, 512)) as read:
        pass
    with pytest.raises(ValueError, match="closed"):
        read.read(whole(0), whole(512), whole(0))


@pytest.mark.parametrize("depth", [0, -1, 1025])
def test_a_depth_out_of_range_is_a_sentence(file: Path, depth: int) -> None:
    with pytest.raises(UsageError, match=f"depth of {depth} reads"), opened("threads", file, Arena(4, 512), depth):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_or_an_empty_file_is_a_sentence(disk: Path, kind: Kind) -> None:
    (disk / "empty").touch()
    for name in ("absent", "empty"):
        with pytest.raises(ModelError), opened(kind, disk / name, Arena(4, 512)):
            pass


def test_a_file_in_memory_or_without_o_direct_is_refused() -> None:
    for kind in DIRECT:
        with pytest.raises(UsageError, match="O_DIRECT"), opened(kind, Path("/proc/self/status"), Arena(4, 512)):
            pass


# Where the C backend cannot be had.


@pytest.fixture
def unbuilt() -> Iterator[None]:
    c_backend._library.cache_clear()
    yield
    c_backend._library.cache_clear()


@pytest.mark.usefixtures("unbuilt")
@pytest.mark.parametrize("kind", ["uring", "pread"])
@pytest.mark.parametrize(
    ("compiler", "why"), [("no-such-compiler", "there is no C compiler"), ("false", "the C compiler failed")]
)
def test_without_a_compiler_threads_read_and_that_is_announced(
    file: Path, content: np.ndarray, monkeypatch: pytest.MonkeyPatch, kind: Kind, compiler: str, why: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    arena, sentences = Arena(SLOTS, SLOT_BYTES), list[str]()
    with open_reader(kind, file, arena, DEPTH, sentences.append) as read:
        assert read.kind == "threads"
        read.read(whole(SLOT_BYTES), whole(SLOT_BYTES), whole(5))
    np.testing.assert_array_equal(arena.view[5], content[SLOT_BYTES : 2 * SLOT_BYTES])
    assert sentences[0].startswith(f"{kind} cannot read here, since {why}")
    assert sentences[-1].endswith("threads reads in its place.")


def test_without_io_uring_the_pool_reads_and_that_is_announced(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(descriptor: int, arena: Arena, depth: int) -> AbstractContextManager[Transfer]:
        raise c_backend.Unavailable("the kernel offers no io_uring here (Operation not permitted)")

    monkeypatch.setattr(c_backend, "ring", forbidden)
    with contextlib.ExitStack() as stack:
        with pytest.warns(UserWarning, match="pread reads in its place"):
            read = stack.enter_context(open_reader("uring", file, Arena(4, 512), DEPTH))
        assert read.kind == "pread"
        assert read.read(whole(0), whole(512), whole(0)) == 512


@pytest.mark.usefixtures("unbuilt")
def test_the_backend_is_built_once_a_source(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def libraries() -> list[str]:
        c_backend._library.cache_clear()
        c_backend._library()
        return sorted(path.name for path in (cache / "native").iterdir())

    first = libraries()
    written = (cache / "native" / first[0]).stat().st_mtime_ns
    assert libraries() == first
    assert (cache / "native" / first[0]).stat().st_mtime_ns == written
    changed = tmp_path / "flashio.c"
    changed.write_text(c_backend._SOURCE.read_text() + "// changed\n")
    monkeypatch.setattr(c_backend, "_SOURCE", changed)
    assert len(libraries()) == 2


@pytest.mark.usefixtures("unbuilt")
def test_a_damaged_build_is_not_loaded(file: Path, cache: Path) -> None:
    c_backend._built().write_bytes(b"\x7fELF and no more")
    sentences = list[str]()
    with open_reader("pread", file, Arena(4, 512), DEPTH, sentences.append) as read:
        assert read.kind == "threads"
    assert str(cache) in sentences[0]


def test_kinds_that_fall_back_still_pass_by_the_page_cache() -> None:
    assert set(reader._FALLBACK) | set(reader._FALLBACK.values()) == set(DIRECT)
