"""fio's own figures are what ours are compared with; whatever it does wrong is a sentence."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError, UsageError
from harness.flash.io import fio
from harness.flash.io.arena import Arena
from harness.flash.io.fio import ENGINES, compare, fio_version

SIZE, DEPTH, READS = 16384, 4, 12


@pytest.fixture
def file(disk: Path) -> Path:
    path = disk / "colon:in its name"
    path.write_bytes(np.random.default_rng(0).bytes(64 * SIZE + 5))
    return path


def fake_fio(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, the only one on PATH, that knows its `$engine` and its `$command`."""
    program = folder / "bin" / "fio"
    program.parent.mkdir(exist_ok=True)
    which = 'case "$command" in *=io_uring*) engine=io_uring;; *=libaio*) engine=libaio;; *) engine=psync;; esac'
    version = '[ "$1" = --version ] && { echo fio-0.0; exit; }'
    program.write_text(f'#!/bin/sh\ncommand="$*"\n{version}\n{which}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


def result(rate: str, error: int = 0, read: int = 1) -> str:
    return f'{{"jobs": [{{"error": {error}, "read": {{"io_bytes": {read}, "bw_bytes": {rate}}}}}]}}'


def compared(file: Path, rounds: int = 3, **more: int) -> fio.Peer:
    return compare("threads", file, size_bytes=SIZE, depth=DEPTH, reads=READS, rounds=rounds, **more)


@pytest.mark.skipif(not shutil.which("fio"), reason="fio is not installed")
def test_fio_reads_the_same_file(file: Path) -> None:
    before = file.read_bytes()
    found = compared(file, rounds=2, batch=5)
    assert found.engine in ENGINES
    assert found.fio_version.startswith("fio-")
    assert found.proof.valid
    assert found.proof.asked_bytes == 2 * READS * SIZE
    assert (found.kind, found.size_bytes, found.depth, found.reads, found.batch) == ("threads", SIZE, DEPTH, READS, 5)
    assert math.isclose(found.ratio.value, found.ours_bytes_per_s.value / found.fio_bytes_per_s.value)
    assert (found.ratio.pairs, found.ratio.paired) == (2, True)
    assert file.read_bytes() == before


def test_the_best_engine_is_the_peer(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(1)
    monkeypatch.setattr(fio, "_ours", lambda *arguments: float(next(seconds)))
    script = f"case $engine in libaio) echo '{result('6e5')}';; *) echo '{result('5e5')}';; esac"
    fake_fio(tmp_path, monkeypatch, script)
    found = compared(file, rounds=2)
    assert (found.engine, found.fio_version, found.batch) == ("libaio", "fio-0.0", READS)
    assert math.isclose(found.fio_bytes_per_s.value, 6e5)
    geometric_mean = READS * SIZE / math.sqrt(2)  # of one second and of two
    assert math.isclose(found.ours_bytes_per_s.value, geometric_mean)
    assert math.isclose(found.ratio.value, geometric_mean / 6e5)


def test_rounds_alternate(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    fake_fio(tmp_path, monkeypatch, f"echo $engine >> {log}; echo '{result('5e5')}'")

    def ours(*arguments: object) -> float:
        with log.open("a") as opened:
            opened.write("ours\n")
        return 1.0

    monkeypatch.setattr(fio, "_ours", ours)
    compared(file, rounds=3)
    said = log.read_text().split()
    chosen, rounds = said[:9], said[9:]
    assert chosen == [*ENGINES] * 3, "the best engine is found before"
    engine = next(name for name in rounds if name != "ours")
    assert rounds == ["ours", engine, engine, "ours", "ours", engine]


def test_it_reads_into_as_much_memory_as_fio(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def arena(slots: int, slot_bytes: int) -> Arena:
        made.append((slots, slot_bytes))
        return Arena(slots, slot_bytes)

    monkeypatch.setattr(fio, "Arena", arena)
    fake_fio(tmp_path, monkeypatch, f"echo '{result('5e5')}'")
    assert compared(file, rounds=1).reads > 2 * DEPTH
    assert made == [(DEPTH, SIZE)]


def test_psync_gets_a_thread_a_read_and_the_others_a_depth(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    fake_fio(tmp_path, monkeypatch, f"echo \"$command\" >> {log}; echo '{result('5e5')}'")
    compared(file, rounds=1)
    ring, _, threads = (line.split() for line in log.read_text().splitlines()[:3])
    assert {f"--iodepth={DEPTH}", "--numjobs=1", f"--io_size={READS * SIZE}"} <= set(ring)
    assert {"--iodepth=1", f"--numjobs={DEPTH}", f"--io_size={READS * SIZE // DEPTH}"} <= set(threads)
    for command in (ring, threads):
        assert {"--readonly", "--direct=1", "--rw=randread", f"--bs={SIZE}", f"--size={64 * SIZE}"} <= set(command)


def test_an_engine_that_fails_is_left_out(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fio(tmp_path, monkeypatch, f"[ $engine = io_uring ] && exit 1; echo 'note: x'; echo '{result('5e5')}'")
    assert compared(file, rounds=1).engine in ("libaio", "psync")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo first >&2; echo 'no such engine' >&2; exit 1", "no such engine"),
        ("exit 3", "exit 3"),
        ("echo nonsense", "unusable|nothing usable"),
        ("echo '{}'", "'jobs'"),
        ("echo '{\"jobs\": []}'", "usable"),
        (f"echo '{result('5e5', error=5)}'", "error 5"),
        (f"echo '{result('5e5', read=0)}'", "0 bytes read"),
        (f"echo '{result('0')}'", "too few reads"),
        (f"echo '{result('null')}'", "usable"),
    ],
)
def test_what_fio_does_wrong_is_a_sentence(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    fake_fio(tmp_path, monkeypatch, script)
    with pytest.raises(HarnessError, match=why):
        compared(file)


def test_without_fio_there_is_no_peer(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fio_version() is None
    with pytest.raises(UsageError, match="fio is not installed"):
        compared(file)


def test_a_file_smaller_than_a_read_is_a_sentence(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fio(tmp_path, monkeypatch, "exit 1")
    (disk / "small").write_bytes(bytes(SIZE - 1))
    with pytest.raises(UsageError, match="smaller than one read"):
        compared(disk / "small")
