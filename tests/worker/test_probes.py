"""What a worker says of its memory and its reads, beside what the kernel says elsewhere, in its own units."""

from __future__ import annotations

import gc
import mmap
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.worker import probes

MIB = 1 << 20


def test_resident_memory_is_in_bytes() -> None:
    """/proc/self/statm counts pages, /proc/self/status units of 1024 bytes: both are of the same memory."""
    said = probes.memory("load")
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert said.phase == "load"
    assert said.rss_bytes == pytest.approx(resident, rel=0.01)
    assert said.pss_bytes is not None
    assert said.peak_rss_bytes is not None
    assert resident / 2 < said.pss_bytes <= said.rss_bytes * 1.01
    assert said.peak_rss_bytes >= said.rss_bytes * 0.99


def test_a_peak_is_that_since_the_last_one_was_forgotten() -> None:
    gc.collect()
    before = probes.memory("before").rss_bytes
    assert before is not None
    with mmap.mmap(-1, 128 * MIB) as pages:
        for at in range(0, len(pages), mmap.PAGESIZE):
            pages[at] = 1
    peak = probes.memory("after").peak_rss_bytes
    assert peak is not None
    assert peak >= before + 120 * MIB
    if not probes.reset_peak():
        pytest.skip("this kernel does not let a process forget its peak")
    now = probes.memory("later")
    assert now.peak_rss_bytes is not None
    assert now.peak_rss_bytes < peak - 100 * MIB


def test_a_field_of_proc_is_kibibytes_and_others_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t       3 kB\nThreads:\t12\n")
    assert probes._fields(tmp_path / "status") == {"VmHWM": 2 * MIB, "VmRSS": 3072}
    assert probes._fields(tmp_path / "absent") == {}


def test_reads_are_those_since_the_probe_began(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, faults = [1000, 4500], [20, 27]
    monkeypatch.setattr(probes, "fetched_bytes", lambda: fetched.pop(0))
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_majflt=faults.pop(0)))
    said = probes.IoProbe().since("load", 77)
    assert (said.phase, said.asked_bytes, said.read_bytes, said.major_faults) == ("load", 77, 3500, 7)


@pytest.mark.parametrize("fetched", [[None, 5], [5, None]])
def test_reads_that_the_kernel_does_not_tell_are_null(
    monkeypatch: pytest.MonkeyPatch, fetched: list[int | None]
) -> None:
    monkeypatch.setattr(probes, "fetched_bytes", lambda: fetched.pop(0))
    assert probes.IoProbe().since("load", None).read_bytes is None
