"""A limit that the kernel keeps: in a process of its own, which may be ended for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.flash.io.cgroup import ALLOWANCE_BYTES, limited

TAKE = """
import os, sys
from pathlib import Path
from harness.flash.io.cgroup import limited
before = Path("/proc/self/cgroup").read_text()
with limited(1 << 20) as limit:
    assert Path("/proc/self/cgroup").read_text() != before or limit.reason
    print(limit.limit_bytes or limit.reason, flush=True)
    taken = bytearray(int(sys.argv[1]))
    print(limit.peak_bytes(), flush=True)
assert Path("/proc/self/cgroup").read_text() == before
print("left", flush=True)
"""


def take(size: int) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run([sys.executable, "-c", TAKE, str(size)], capture_output=True, text=True, check=False)
    if ended.stdout.startswith("no memory cgroup"):
        pytest.skip(ended.stdout.splitlines()[0])
    return ended


def test_what_is_within_the_limit_is_counted_and_the_process_leaves_again() -> None:
    ended = take(8 << 20)
    assert ended.returncode == 0, ended.stderr
    limit, peak, left = ended.stdout.split()
    assert int(limit) == (1 << 20) + ALLOWANCE_BYTES
    assert 8 << 20 <= int(peak) <= int(limit)
    assert left == "left"


def test_what_takes_more_is_ended_by_the_kernel() -> None:
    ended = take((1 << 20) + 2 * ALLOWANCE_BYTES)
    assert ended.returncode == -9, ended.stdout + ended.stderr


def test_where_none_may_be_made_the_block_runs_and_says_so(tmp_path: Path) -> None:
    with limited(1 << 20, root=tmp_path / "nowhere") as limit:
        assert limit.limit_bytes is None
        assert "no memory cgroup can be made here" in (limit.reason or "")
        assert limit.peak_bytes() is None
