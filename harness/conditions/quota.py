"""How many processors' worth of time a cgroup grants: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1.

A container's limit is that of the group and of every one above it, of which the tightest counts. Which processors may
be used (a cpuset, an affinity) is another matter, and the worker says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
# Where version 2 is mounted, and version 1's controller of processor time, on Linux and on Android.
MOUNTS = (
    *("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"),
    *("/sys/fs/cgroup/cpuacct,cpu", "/dev/cpuctl"),
)
NONE = "no cgroup limits it"
# The same for the shell of a device: `FILE<tab>CONTENT` for every file of the shell's own groups and those above them.
SCRIPT = f"""
while IFS=: read -r number controllers group; do
  case ",$controllers," in *,cpu,*|,,) ;; *) continue;; esac
  for mount in {" ".join(MOUNTS)}; do
    at=${{group%/}}
    while :; do
      for name in {" ".join(FILES)}; do
        IFS= read -r value 2>/dev/null < "$mount$at/$name" && printf '%s\\t%s\\n' "$mount$at/$name" "$value"
      done
      [ -n "$at" ] || break
      at=${{at%/*}}
    done
  done
done 2>/dev/null < /proc/self/cgroup
"""


def quota_files(root: Path = Path("/")) -> dict[str, str]:
    """What the files of this process's groups hold, by path below `root`; empty where there are none."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    files = {}
    for line in groups:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        at = Path(group.strip("/") or ".")
        for folder in (at, *at.parents):
            for path in (f"{mount}/{folder}/{name}" for mount in MOUNTS for name in FILES):
                try:
                    files[path] = (root / path.lstrip("/")).read_text().strip()
                except OSError:
                    continue
    return files


def granted(files: Mapping[str, str]) -> float | None:
    """Processors' worth of time, such as 1.5, that these files grant; None where none of them sets a limit."""
    grants = []
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        if name == "cpu.max":
            quota, _, period = text.partition(" ")
        elif name == "cpu.cfs_quota_us":
            quota, period = text, files.get(f"{folder}/cpu.cfs_period_us", "")
        else:
            continue
        # "max" in version 2 and -1 in version 1 mean no limit.
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            grants.append(int(quota) / int(period))
    return min(grants, default=None)
