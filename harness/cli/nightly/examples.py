"""What `harness nightly example` prints: a configuration, a workflow of GitHub Actions, a line for crontab."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

EXAMPLES = ("config", "github", "cron")

_CONFIG = """\
# harness nightly run nightly.toml
target = "x86"
models = ["baseline", "selfcomp"]   # files beside this one, or names from `harness models list`
# reference = "reference.pte"       # a file that never changes, measured between the others: time is set against it
results = "nights"                  # a folder that stays from night to night
# metrics = ["decode_latency_ns_p50", "model_bytes", "loss_nats"]   # the default: latency p50, sizes, loss

[run]                               # further options of `harness run`, without the dashes
processes = 16                      # a night's figure is their median: many short ones say more than a few long ones
min-duration = 0.2                  # seconds, of each
threads = 1
cpus = "0"                          # on one processor: processes that may migrate differ more from night to night
# runtime = "native"                # the C++ worker, whose processes begin in milliseconds; needs a compiler

[detect]
max_p = 1e-4                        # a change is so improbable by chance,
min_change = 0.03                   # and so large: 3 %
"""

# Expressions in braces are GitHub's.
_GITHUB = """\
name: nightly
on:
  schedule:
    - cron: "17 2 * * *"
  workflow_dispatch:
concurrency: nightly                # two nights at once would measure each other
permissions:
  contents: read
jobs:
  nightly:
    # A machine of your own that runs nothing else: shared runners are another machine every night.
    runs-on: [self-hosted, benchmark]
    timeout-minutes: 240
    steps:
      - uses: actions/checkout@v4
      - run: python3 -m venv "$RUNNER_TEMP/venv" && "$RUNNER_TEMP/venv/bin/pip" install .
      # nightly.toml names a folder outside the checkout as `results`, for example "~/nights".
      # Exit code 3, which fails the job: a regression is unresolved.
      - run: '"$RUNNER_TEMP/venv/bin/harness" nightly run nightly.toml --summary "$GITHUB_STEP_SUMMARY"'
"""


def example(what: str) -> str:
    """The text of one of `EXAMPLES`; the line for crontab is of this folder and this Python."""
    if what == "cron":
        python, folder = shlex.quote(sys.executable), shlex.quote(str(Path.cwd()))
        # A percent sign is a line break to cron.
        line = f"17 2 * * * cd {folder} && {python} -P -m harness nightly run nightly.toml >> nightly.log 2>&1"
        return line.replace("%", r"\%") + "\n"
    return {"config": _CONFIG, "github": _GITHUB}[what]
