"""A child ends with the process that started it, even when that is killed before the child's program has begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.processes import ends, pid_in

STARTS = """
import os, signal, subprocess, sys, time
from harness.children import ending_with_us
arrange = ending_with_us()
def begin():
    with open(sys.argv[1] + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(sys.argv[1] + ".part", sys.argv[1])
    if sys.argv[2] == "before":  # it dies in the moment between
        os.kill(os.getppid(), signal.SIGKILL)
        while os.getppid() == parent:
            time.sleep(0.001)
    arrange()
    if sys.argv[2] == "at once":
        os.kill(os.getppid(), signal.SIGKILL)
parent = os.getpid()
subprocess.run(["sleep", "60"], preexec_fn=begin)
"""


@pytest.mark.parametrize("when", ["before", "at once"])
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path, when: str) -> None:
    ended = subprocess.run([sys.executable, "-c", STARTS, str(tmp_path / "pid"), when], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ends(pid_in(tmp_path / "pid"))


WORKER = """
import sys
from harness.targets.transports.local import LocalProcess
process = LocalProcess([sys.executable, "-c", "import time; time.sleep(60)"], "{}", {})
print(process._process.pid, flush=True)
sys.stdin.read()
"""


def test_every_worker_is_such_a_child_from_its_first_moment() -> None:
    """This one never reads its request, nor anything of harness."""
    command = [sys.executable, "-P", "-c", WORKER]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdin is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    assert ends(worker)


def test_a_child_whose_parent_lives_goes_on() -> None:
    from harness.children import ending_with_us

    said = subprocess.run(["echo", "on"], stdout=subprocess.PIPE, preexec_fn=ending_with_us(), check=True)
    assert said.stdout == b"on\n"
    assert os.getppid() > 0
