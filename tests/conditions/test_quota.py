"""What a container may use, as both versions of cgroups say it, read by Python and by the shell of a device alike."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.conditions import host
from harness.conditions.quota import NONE, SCRIPT, granted, quota_files
from harness.targets.transports.conditions import read_device

V2, CPU = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"
# Groups of the process, files, and the processors' worth of time that they grant.
MACHINES = [
    ("0::/\n", {f"{V2}/cpu.max": "max 100000"}, None),
    ("0::/\n", {f"{V2}/cpu.max": "150000 100000"}, 1.5),
    ("0::/\n", {f"{V2}/cpu.stat": "usage_usec 5"}, None),
    ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "50000 100000", f"{V2}/a/cpu.max": "max 100000"}, 0.5),
    ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "400000 100000", f"{V2}/a/cpu.max": "200000 100000"}, 2.0),
    ("0::/a\n", {f"{V2}/a/cpu.max": "max 100000", f"{V2}/b/cpu.max": "1000 100000"}, None),
    ("0::/a\n", {f"{V2}/a/cpu.max": "2000 1000"}, 2.0),
    ("4:cpu,cpuacct:/a\n0::/\n", {f"{CPU}/a/cpu.cfs_quota_us": "-1", f"{CPU}/a/cpu.cfs_period_us": "100000"}, None),
    ("4:cpu,cpuacct:/a\n", {f"{CPU}/a/cpu.cfs_quota_us": "25000", f"{CPU}/a/cpu.cfs_period_us": "50000"}, 0.5),
    # In a container of version 1 the host's path is not there, and the mount's root is the container's.
    ("4:cpu,cpuacct:/docker/x\n", {f"{CPU}/cpu.cfs_quota_us": "300000", f"{CPU}/cpu.cfs_period_us": "100000"}, 3.0),
    # The group of another controller says nothing of time.
    ("2:cpuset:/a\n", {f"{CPU}/a/cpu.cfs_quota_us": "25000", f"{CPU}/a/cpu.cfs_period_us": "50000"}, None),
    ("4:cpu:/a\n", {"dev/cpuctl/a/cpu.cfs_quota_us": "20000", "dev/cpuctl/a/cpu.cfs_period_us": "10000"}, 2.0),
    ("rubbish\n0::/\n", {f"{V2}/cpu.max": "lots"}, None),
    ("0::/\n", {f"{V2}/cpu.max": "100000 0"}, None),
]


def make(root: Path, groups: str, files: dict[str, str]) -> None:
    for path, text in {"proc/self/cgroup": groups, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text.removesuffix("\n") + "\n")


@pytest.mark.parametrize(("groups", "files", "processors"), MACHINES)
def test_the_tightest_limit_of_the_groups_above_counts(
    tmp_path: Path, groups: str, files: dict[str, str], processors: float | None
) -> None:
    make(tmp_path, groups, files)
    assert granted(quota_files(tmp_path)) == processors


@pytest.mark.parametrize("shell", ["sh", "mksh"])
def test_a_shell_finds_the_same(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for number, (groups, files, processors) in enumerate(MACHINES):
        root = tmp_path / str(number)
        make(root, groups, files)
        script = SCRIPT
        for folder in ("/sys/", "/proc/", "/dev/cpuctl"):
            script = script.replace(folder, f"{root}{folder}")
        said = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=False)
        assert said.stderr == ""
        (found,) = (one for one in read_device("#quota\n" + said.stdout) if one.name == "cpu_quota_processors")
        assert (found.value, found.identity) == (None if processors is None else f"{processors:.2f}", False)
        assert found.reason == (NONE if processors is None else None)


def test_a_machine_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    assert quota_files(tmp_path) == {}
    assert granted({}) is None


def test_this_machine_says_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for files, value in (({}, None), ({"/x/cpu.max": "150000 100000"}, "1.50")):
        monkeypatch.setattr(host, "quota_files", lambda files=files: files)
        (found,) = (one for one in host.read_host() if one.name == "cpu_quota_processors")
        assert (found.value, found.reason) == (value, NONE if value is None else None)
