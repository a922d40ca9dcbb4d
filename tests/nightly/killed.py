"""Nights that are killed: `python killed.py killed FOLDER TIMES` prints the number of every night that ended."""

from __future__ import annotations

import os
import random
import resource
import select
import signal
import sys
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from nightly.farm import Farm, metrics

from harness.errors import StoreError
from harness.nightly.ledger import files_of


def grown(folder: Path) -> Farm:
    """A farm whose file is 4 % larger every night, so that every night has an alert to write."""
    farm = Farm(folder)
    farm.latency_ns = defaultdict(lambda: 1e6)
    farm.config = replace(farm.config, metrics=metrics("steady_latency_ns_p50", "model_bytes"))
    last = len({path.name[:12] for path in files_of(farm.config.results, "nights")})
    farm.file.write_bytes(bytes(int(100 * 1.04**last)))
    farm.now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=last)
    return farm


def nights(folder: Path, out: int) -> int:
    """A process of nights without an end, that says the number of each as it ends."""
    child = os.fork()
    if child:
        return child
    while True:
        watched = grown(folder).night()
        assert watched.last is not None
        os.write(out, f"{watched.last.number}\n".encode())


def killed(folder: Path, times: int) -> None:
    """Kill it `times` times at a random moment: every second time of the first night, else of the one after it."""
    moments = random.Random(1)
    began = time.monotonic()
    grown(folder).night()  # imports everything, so that no child has to
    span = time.monotonic() - began
    for number in range(times):
        said, out = os.pipe()
        child = nights(folder, out)
        os.close(out)
        if number % 2:
            select.select([said], [], [])
        time.sleep(moments.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(said) as file:
            sys.stdout.write(file.read())


def full(folder: Path) -> None:
    """The kernel refuses to let a file grow, as it does on a full disk."""
    farm = grown(folder)
    farm.file.write_bytes(os.urandom(50_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    try:
        farm.night()
    except StoreError as error:
        print(error)


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # whoever is killed leaves the kernel's cache as it is
    what, folder, *number = sys.argv[1:]
    {"killed": killed, "full": full}[what](Path(folder), *map(int, number))
