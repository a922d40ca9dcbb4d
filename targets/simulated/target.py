"""What simulated targets have in common: what they can say, what they need, and how their worker is started."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from harness.job import Files, Job, request_json
from harness.target import Availability, Capabilities
from harness.targets.transports.local import LocalProcess

CAPABILITIES = Capabilities(
    formats=(".pt2",),
    latency="estimated",
    scenarios=("generate", "single-stream"),
    per_operator=True,
    static_shapes=True,
)


def availability(packages: Iterable[str], extra: str) -> Availability:
    """Needs `packages`, which the extra of that name installs, and nothing of the machine."""
    for package in packages:
        try:
            version(package)
        except PackageNotFoundError:
            return Availability(False, f"{package} is not installed", f"Run `pip install 'edge-harness[{extra}]'`.")
    return Availability(True)


def launch(module: str, chosen: str | None, job: Job, files: Files) -> LocalProcess:
    """Start the worker `module` on the configuration that was chosen, as a child process of this one. Nothing is timed,
    so nothing else may disturb it.
    """
    command = [sys.executable, "-P", "-m", module, *([chosen] if chosen else [])]
    return LocalProcess(command, request_json(job, files), {"OMP_NUM_THREADS": str(job.threads)})
