"""Sweeps over a device made of numbers: which reads are asked for, in which order, and what is made of the answers. And
one small sweep of the disk at hand, which says nothing of how fast it is.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from fakes.clock import FakeClock

from harness.errors import HarnessError, UsageError
from harness.flash.device_model import sweep as module
from harness.flash.device_model.sweep import Sample, cells, readable, sweep, unrest
from harness.flash.device_model.throughput import Limits, fit, throughput
from harness.flash.io.arena import Arena
from harness.flash.io.proof import Proof
from harness.flash.io.reader import Kind

LIMITS = Limits(8e4, 1.5e9, 2e5, 3e9, 2.0)
MIB = 2**20


@dataclass
class FakeDevice:
    """Takes what the model says, by a clock of its own, and counts the bytes of reads unless it `caches` them."""

    clock: FakeClock = field(default_factory=FakeClock)
    caches: Callable[[int], bool] = lambda size: False
    fetched: int = 0
    batches: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)
    offers: Kind | None = None

    @contextlib.contextmanager
    def open_reader(
        self, kind: Kind, path: Path, arena: Arena, depth: int, announce: Callable[[str], None]
    ) -> Iterator[object]:
        device = self
        if self.offers is not None and self.offers != kind:
            announce(f"{kind} cannot read here")
            kind = self.offers

        class Reader:
            def read(self, offsets: np.ndarray, lengths: np.ndarray, slots: np.ndarray) -> int:
                assert offsets.dtype == lengths.dtype == slots.dtype == np.int64
                assert (slots * arena.slot_bytes + lengths).max() <= arena.view.nbytes
                size = int(lengths[0])
                assert (np.diff(slots) * arena.slot_bytes == size).all(), "reads overlap in the arena"
                assert (offsets % size == 0).all()
                assert (offsets + size <= path.stat().st_size).all()
                device.batches.append((depth, offsets, lengths))
                device.clock.advance(round(lengths.sum() / float(throughput(LIMITS, size, depth)) * 1e9))
                device.fetched += 0 if device.caches(size) else int(lengths.sum())
                return int(lengths.sum())

        reader = Reader()
        reader.kind = kind  # type: ignore[attr-defined]
        yield reader


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setattr(module, "open_reader", device.open_reader)
    monkeypatch.setattr(module, "fetched_bytes", lambda: device.fetched)
    monkeypatch.setattr(module, "perf_counter_ns", device.clock)
    return device


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 512 * MIB)  # sparse; nobody reads it
    return path


def test_a_sweep_finds_the_device(device: FakeDevice, file: Path) -> None:
    found, refused = cells(list(sweep(file, rounds=2)))
    assert len(found) == len(module.SIZES) * len(module.DEPTHS) >= 16
    assert not refused
    for cell in found:
        assert cell.bytes_per_s == pytest.approx(float(throughput(LIMITS, cell.read_bytes, cell.depth)), rel=1e-5)
    limits = fit(found)
    assert limits.latency_ns == pytest.approx(LIMITS.latency_ns, rel=0.01)
    assert limits.bytes_per_s == pytest.approx(LIMITS.bytes_per_s, rel=0.01)


def test_rounds_alternate(device: FakeDevice, file: Path) -> None:
    samples = list(sweep(file, rounds=4))
    orders = [[(s.read_bytes, s.depth) for s in samples if s.round == number] for number in range(4)]
    assert orders[1] == orders[0][::-1]
    assert orders[3] == orders[2][::-1]
    assert orders[2] != orders[0]
    assert orders[0] != sorted(orders[0])
    assert {frozenset(order) for order in orders} == {frozenset(itertools.product(module.SIZES, module.DEPTHS))}


def test_reads_are_random_new_each_round_and_never_twice_in_a_batch(device: FakeDevice, file: Path) -> None:
    list(sweep(file, sizes=[4096], depths=[4], rounds=2))
    warm_up, first, _, second = (offsets for _, offsets, _ in device.batches)
    assert len(np.unique(first)) == len(first) >= 8
    assert (np.diff(first) < 0).any()
    assert set(first) != set(second)
    # What the warm-up fetched is not measured again: a cache below might have kept it.
    assert not set(warm_up) & set(first)


def test_the_warm_up_is_not_timed(device: FakeDevice, file: Path) -> None:
    (sample,) = sweep(file, sizes=[4096], depths=[4], rounds=1)
    warm_up, timed = device.batches
    assert len(warm_up[1]) == 4
    assert len(timed[1]) == sample.reads
    assert sample.proof == Proof(sample.reads * 4096, sample.reads * 4096, True, None)


def test_same_seed_same_reads(device: FakeDevice, file: Path) -> None:
    list(sweep(file, sizes=[4096, 8192], depths=[1, 4], rounds=2, seed=7))
    half = len(device.batches)
    list(sweep(file, sizes=[4096, 8192], depths=[1, 4], rounds=2, seed=7))
    for (_, once, _), (_, again, _) in zip(device.batches[:half], device.batches[half:], strict=True):
        assert (once == again).all()


def test_what_came_from_a_cache_is_no_cell(device: FakeDevice, file: Path) -> None:
    device.caches = lambda size: size == 8192
    found, refused = cells(list(sweep(file, rounds=2)))
    assert {cell.read_bytes for cell in found} == set(module.SIZES) - {8192}
    assert len(refused) == len(module.DEPTHS)
    assert all("8192 bytes" in sentence and "0 came from the device" in sentence for sentence in refused)


def sample(value: float, *, valid: bool = True, round: int = 0) -> Sample:
    reason = None if valid else "cached"
    proof = Proof(4096 * 100, 4096 * 100 if valid else 0, valid, reason)
    return Sample(round, "threads", 4096, 1, 100, round_ns(value), proof)


def round_ns(bytes_per_s: float) -> int:
    return round(4096 * 100 / bytes_per_s * 1e9)


def test_a_cell_is_the_median_of_its_valid_rounds() -> None:
    rounds = [sample(1e8), sample(9e8), sample(2e8), sample(5e9, valid=False)]
    ((cell,), refused) = cells(rounds)
    assert cell.bytes_per_s == pytest.approx(2e8)
    assert not refused


def test_unrest_worked_out_by_hand() -> None:
    assert unrest([sample(1e8), sample(1e8)]) == pytest.approx(1)
    # Logarithms one apart from their mean each way; what is not valid does not count.
    assert unrest([sample(1e8), sample(1e8 * np.e**2), sample(1e12, valid=False)]) == pytest.approx(np.e, rel=1e-6)
    assert np.isnan(unrest([sample(1e8, valid=False)]))


def test_a_fallback_is_announced_once_and_named(device: FakeDevice, file: Path) -> None:
    device.offers = "pread"
    said: list[str] = []
    samples = list(sweep(file, "uring", sizes=[4096, 8192], depths=[1, 4], rounds=2, announce=said.append))
    assert said == ["uring cannot read here"]
    assert {s.kind for s in samples} == {"pread"}


@pytest.mark.parametrize("size", [0, -4096, 512, 5000])
def test_sizes_that_no_disk_reads_directly(device: FakeDevice, file: Path, size: int) -> None:
    with pytest.raises(UsageError, match="not aligned"):
        list(sweep(file, sizes=[4096, size]))
    assert not device.batches


def test_a_file_too_small_to_be_random_in(device: FakeDevice, file: Path) -> None:
    os.truncate(file, MIB)
    with pytest.raises(UsageError, match=r"has 1048576 bytes; random reads need \d+"):
        list(sweep(file))
    assert not device.batches


def test_a_scratch_file_is_written_and_removed(tmp_path: Path) -> None:
    with readable(tmp_path, 3 * MIB) as path:
        assert path.parent == tmp_path
        content = path.read_bytes()
        assert len(content) == 3 * MIB
        assert len(set(content)) == 256
        assert path.stat().st_blocks * 512 >= 3 * MIB, "a file with holes reads nothing"
    assert not list(tmp_path.iterdir())


def test_a_scratch_file_does_not_outlive_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), readable(tmp_path, MIB):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HarnessError, match="no room for 1048576 bytes"), readable(tmp_path, MIB):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    with readable(tmp_path / "mine") as path:
        assert path == tmp_path / "mine"
    assert path.read_bytes() == b"precious"
    with pytest.raises(UsageError, match="does not exist"), readable(tmp_path / "absent"):
        pass


def test_memory_is_no_device() -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or not os.access(shm, os.W_OK):
        pytest.skip("no tmpfs here to refuse")
    before = set(shm.iterdir())
    with pytest.raises(UsageError, match="in memory"), readable(shm, MIB):
        pass
    assert set(shm.iterdir()) == before


def test_a_real_sweep(tmp_path: Path) -> None:
    try:
        with readable(tmp_path, 64 * MIB) as path:
            samples = list(sweep(path, "threads", sizes=[4096, 16384], depths=[1, 4], rounds=1))
    except UsageError as error:
        pytest.skip(f"the temporary folder cannot be measured: {error}")
    assert len(samples) == 4
    for taken in samples:
        assert taken.duration_ns > 0
        assert taken.proof.asked_bytes == taken.reads * taken.read_bytes
        assert taken.proof.valid, taken.proof.reason
        assert replace(taken, duration_ns=taken.duration_ns * 2).bytes_per_s == pytest.approx(taken.bytes_per_s / 2)
