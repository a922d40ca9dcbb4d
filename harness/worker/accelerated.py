"""`python -m harness.worker.accelerated DEVICE`: the Python worker with its models on an accelerator (`cuda`)."""

from __future__ import annotations

import sys

from harness.worker.__main__ import main
from harness.worker.runtimes.accelerator import KINDS
from harness.worker.runtimes.gpu_pt2 import AcceleratedRuntime
from harness.worker.runtimes.gpu_pte import AcceleratedPte

if __name__ == "__main__":
    device = KINDS[sys.argv[1]]()
    runtimes = {".pt2": AcceleratedRuntime(device), ".pte": AcceleratedPte(device)}
    main(runtimes, ("harness.worker.accelerated", device.kind))
