"""`python -m harness.worker.accelerated DEVICE`: the Python worker with its models on an accelerator (`cuda`)."""

from __future__ import annotations

import sys

from harness.worker.__main__ import main
from harness.worker.accelerated_pte import AcceleratedPte
from harness.worker.accelerated_runtime import AcceleratedRuntime
from harness.worker.accelerator import KINDS

if __name__ == "__main__":
    device = KINDS[sys.argv[1]]()
    runtimes = {".pt2": AcceleratedRuntime(device), ".pte": AcceleratedPte(device)}
    main(runtimes, ("harness.worker.accelerated", device.kind))
